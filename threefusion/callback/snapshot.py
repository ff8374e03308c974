"""Checkpoints, written atomically, also on Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from threefusion.machine.files import numbered


class Snapshot(pl.Callback):
    """Saves every `interval` steps and at the end; keeps the newest `keep` checkpoints."""

    def __init__(self, run: Path, interval: int, keep: int) -> None:
        self.folder = run / "checkpoints"
        self.interval, self.keep = interval, keep
        self._saved = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when a multiple of the interval is reached (once, however many micro-batches a step has)."""
        if trainer.global_step % self.interval == 0 and trainer.global_step != self._saved and trainer.global_step > 0:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the end, be it the planned one or an interruption."""
        if trainer.global_step != self._saved:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write `step-000200.ckpt` through a temporary file, then drop the oldest."""
        self._saved = trainer.global_step
        path = self.folder / f"step-{trainer.global_step:06d}.ckpt"
        temporary = path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            os.replace(temporary, path)
            for old in numbered(self.folder, "step-*.ckpt")[: -self.keep]:
                old.unlink()


class Interrupt(pl.Callback):
    """Turns the first Ctrl-C (or SIGTERM) into a clean stop after the current step; a second one kills."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the end of a step after an interrupt; several processes synchronise for this at logged steps only."""
        if module.batches_seen % trainer.accumulate_grad_batches:
            return
        stop = self.requested
        if trainer.world_size > 1:
            due = trainer.global_step % (trainer.log_every_n_steps or 1) == 0
            stop = due and trainer.strategy.reduce_boolean_decision(self.requested, all=False)
        if stop:
            self.requested = True
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
        print("\nstopping after this step and saving; press Ctrl-C again to stop at once", file=sys.stderr, flush=True)
