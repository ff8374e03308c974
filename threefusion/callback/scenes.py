"""Callbacks of scenes that are trained in one process: they stop together and share a line of progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl

from threefusion.callback.snapshot import Interrupt
from threefusion.machine.labels import label
from threefusion.machine.progress import ProgressLine


class SharedInterrupt(Interrupt):
    """Stops when the process was told to, or at a planned step; signals come to the main thread alone."""

    def __init__(self, stopped: threading.Event, planned: int | None = None) -> None:
        super().__init__()
        self.stopped, self.planned = stopped, planned

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leave the signals alone."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the end of a step."""
        self.requested = self.stopped.is_set() or (self.planned is not None and trainer.global_step >= self.planned)
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)


class SharedProgress:
    """One line about all scenes."""

    def __init__(self, scenes: int) -> None:
        self.scenes = scenes
        self._lock, self._line = threading.Lock(), ProgressLine()
        self._steps: dict[int, int] = {}
        self._taken, self._began = 0, 0.0

    def report(self, scene: int, step: int, total: int | None) -> None:
        """A scene has reached a step."""
        with self._lock, label(""):
            self._began = self._began or time.monotonic()
            self._taken += scene in self._steps
            self._steps[scene] = step
            rate = self._taken / max(time.monotonic() - self._began, 1e-9)
            first = min(self._steps.values())
            note = f"{len(self._steps)} of {self.scenes} scenes  {rate:.1f} it/s"
            if total is not None and self._taken:
                left = sum(total - taken for taken in self._steps.values())
                note += f"  {timedelta(seconds=round(left / rate))} left"
            self._line.draw("step", first, total, note)

    def leave(self, scene: int) -> None:
        """A scene takes no more steps."""
        with self._lock:
            self._steps.pop(scene, None)

    def close(self) -> None:
        """Remove the line."""
        self._line.close()


class SceneProgress(pl.Callback):
    """Reports the steps of one scene."""

    def __init__(self, shared: SharedProgress, scene: int, begin: Callable[[int], None], planned: int | None = None) -> None:
        """`begin` is called with the number of the scene after its first step; `planned`: the step at which it stops."""
        self.shared, self.scene, self.begin, self.planned = shared, scene, begin, planned
        self._first = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report a step."""
        if self._first:
            self._first = False
            self.begin(self.scene)
        last = self.planned or (None if trainer.max_steps < 0 else trainer.max_steps)
        self.shared.report(self.scene, trainer.global_step, last)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Report no more."""
        self.shared.leave(self.scene)
