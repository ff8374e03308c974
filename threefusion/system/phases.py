"""Where a step's time goes: render, guidance, backward, other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PHASES = ("render", "guidance", "backward")


class PhaseClock:
    """Adds up seconds by phase. On CUDA events are recorded and read once, at the end: no step waits for the device."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._running: dict[str, float | torch.cuda.Event] = {}

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

    @contextmanager
    def measure(self, phase: str, device: torch.device) -> Iterator[None]:
        """`start` and `stop` round a block."""
        self.start(phase, device)
        yield
        self.stop(phase, device)

    def seconds(self, total: float) -> dict[str, float]:
        """Seconds by phase; `other` is what is left of `total`."""
        if self._events:
            torch.cuda.synchronize()
            for phase, begun, ended in self._events:
                self._seconds[phase] += begun.elapsed_time(ended) / 1000
            self._events.clear()
        return {**self._seconds, "other": max(0.0, total - sum(self._seconds.values()))}

    @staticmethod
    def _now(device: torch.device) -> float | torch.cuda.Event:
        if device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
