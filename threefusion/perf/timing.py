"""Interleaved timing, so that other load affects all candidates alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from threefusion.ops.backend import BACKENDS, DEVICES, MODULES, backend, installed

WARM_UPS = 2
"""Unmeasured rounds: compilation, allocation, caches."""
Clock = Callable[[], Any]
"""Seconds, such as `time.perf_counter`, or for a GPU `device_clock`."""
Mark = Callable[[str], None]
"""Marks the end of the phase of this name."""
Call = Callable[[Mark], None]
"""The timed function. The time between two marks is a phase; phases of one name are summed."""


@dataclass(frozen=True)
class Candidate:
    """One implementation of one operation."""

    name: str
    """The backend; `torch` is the reference."""
    case: str
    """The operation."""
    size: dict[str, int]
    """Its sizes. Candidates of the same case and size are alternatives."""
    call: Call
    counts: dict[str, int] = field(default_factory=dict)
    """Further counts, such as samples kept."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds over the measured repetitions."""

    median: float
    minimum: float
    phases: dict[str, float] = field(default_factory=dict)
    """Medians by phase."""


def plain(function: Callable[[], Any]) -> Call:
    """`function` as a call without phases."""

    def call(mark: Mark) -> None:
        function()

    return call


def on(name: str, function: Callable[[], Any]) -> Call:
    """`function` on backend `name`, as a call without phases."""

    def call(mark: Mark) -> None:
        with backend(name):
            function()

    return call


def runnable(device: torch.device, *operations: str) -> list[str]:
    """`torch`, and the backends that can run here and have kernels of their own for one of `operations`."""
    able = [name for name in BACKENDS if DEVICES.get(name) == device.type and installed(name)]
    return ["torch", *(name for name in able if any((name, operation) in MODULES for operation in operations))]


def interleave(calls: Sequence[Call], repetitions: int, now: Clock) -> list[Timing]:
    """Every call once, then every call again, `WARM_UPS` + `repetitions` times over; the warm-ups do not count."""
    runs: list[list[dict[str, float]]] = [[] for _ in calls]
    for turn in range(WARM_UPS + repetitions):
        for call, taken in zip(calls, runs, strict=True):
            times = timed(call, now)
            if turn >= WARM_UPS:
                taken.append(times)
    return [summary(taken) for taken in runs]


def summary(runs: list[dict[str, float]]) -> Timing:
    """Medians and minimum of what `timed` returned."""
    totals = [run[""] for run in runs]
    return Timing(median(totals), min(totals), {name: median(run[name] for run in runs) for name in runs[0] if name})


def timed(call: Call, now: Clock) -> dict[str, float]:
    """Milliseconds of one call under "", and those of its phases."""
    marks = [("", now())]
    call(lambda name: marks.append((name, now())))
    end = now()
    times = {"": _milliseconds(marks[0][1], end)}
    for (_, start), (name, stop) in pairwise(marks):
        times[name] = times.get(name, 0.0) + _milliseconds(start, stop)
    return times


def device_clock() -> torch.cuda.Event:
    """A recorded CUDA event."""
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _milliseconds(start: Any, end: Any) -> float:
    if isinstance(start, float):
        return 1000 * (end - start)
    end.synchronize()
    return start.elapsed_time(end)
