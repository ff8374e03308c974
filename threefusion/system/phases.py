"""Where a step's time goes: render, guidance, backward, other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

PHASES = ("render", "guidance", "backward")
OTHER = "other"


def per_step(seconds: Mapping[str, float], steps: int) -> dict[str, float]:
    """Milliseconds of one step by phase, from what `steps` steps took; empty without a step."""
    return {name: 1000 * value / steps for name, value in seconds.items()} if steps else {}


def as_text(milliseconds: Mapping[str, float]) -> str:
    """The phases of a step, longest first: "guidance 36 + render 12 + other 9 ms"."""
    ranked = sorted(milliseconds.items(), key=lambda item: -item[1])
    return " + ".join(f"{name} {value:.3g}" for name, value in ranked) + " ms"


class PhaseClock:
    """Adds up seconds by phase. On CUDA events are recorded, and read when the device has passed them: no step waits for it."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._events: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()
        self._running: dict[str, float | torch.cuda.Event] = {}
        self.aside = 0.0
        """Seconds that belong to no step: pauses, and what people looked at in between."""

    def start(self, phase: str, device: torch.device) -> None:
        """Begin `phase`."""
        self._running[phase] = self._now(device)

    def stop(self, phase: str, device: torch.device) -> None:
        """End `phase`; a phase that was never begun is left alone."""
        begun = self._running.pop(phase, None)
        if begun is None:
            return
        now = self._now(device)
        if isinstance(begun, float):
            self._seconds[phase] += now - begun
        else:
            self._events.append((phase, begun, now))
            self._collect()

    @contextmanager
    def measure(self, phase: str, device: torch.device) -> Iterator[None]:
        """`start` and `stop` round a block."""
        self.start(phase, device)
        yield
        self.stop(phase, device)

    @contextmanager
    def put_aside(self) -> Iterator[None]:
        """A block between two steps that is no part of the training."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.aside += time.monotonic() - begun

    def seconds(self, total: float) -> dict[str, float]:
        """Seconds by phase, of all that the device has finished, and what is left of `total`."""
        self._collect()
        return {**self._seconds, OTHER: max(0.0, total - sum(self._seconds.values()))}

    def _collect(self) -> None:
        """Read the events that have passed, so that a long run holds a few of them and not all."""
        while self._events and self._events[0][2].query():
            phase, begun, ended = self._events.popleft()
            self._seconds[phase] += begun.elapsed_time(ended) / 1000

    @staticmethod
    def _now(device: torch.device) -> float | torch.cuda.Event:
        if device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
