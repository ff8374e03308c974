"""Callbacks of scenes that are trained in one process: they stop together and wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from threefusion.callback.snapshot import Interrupt


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


class FirstStep(pl.Callback):
    """Calls `begin` after the first step."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self.begin: Callable[[], None] | None = begin

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call it once."""
        if self.begin is not None:
            self.begin()
            self.begin = None
