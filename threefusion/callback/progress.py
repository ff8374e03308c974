"""The progress line: step, iterations per second, time by phase, remaining time, loss."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from threefusion.system.phases import as_text, per_step


class ProgressLine(pl.Callback):
    """A bar on a terminal; elsewhere (a log file) one line every ten seconds, so that logs stay readable."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._began = self._said = 0.0
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the bar."""
        self._began = self._said = time.monotonic()
        self._first = trainer.global_step
        if trainer.is_global_zero and sys.stderr.isatty():
            columns = (
                "[bold]step",
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                BarColumn(None),
                TextColumn("{task.fields[rate]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[loss]}"), expand=True)
            self._task = self._bar.add_task("train", total=trainer.max_steps, completed=self._first, rate="", loss="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh at most ten times a second, with the loss of the last row: nothing here waits for the device."""
        now = time.monotonic()
        if not trainer.is_global_zero or now - self._said < (0.1 if self._bar else 10.0):
            return
        self._said = now
        done = trainer.global_step - self._first
        rate = done / max(now - self._began, 1e-9)
        loss = trainer.callback_metrics.get("loss")
        loss = "" if loss is None else f"loss {float(loss):.3g}"
        if self._bar:
            self._bar.update(self._task, completed=trainer.global_step, rate=f"{rate:.1f} it/s", loss=loss)
        else:
            left = (trainer.max_steps - trainer.global_step) / max(rate, 1e-9)
            phases = as_text(per_step(module.clock.seconds(now - self._began), done))
            text = f"step {trainer.global_step}/{trainer.max_steps}  {rate:.1f} it/s  {left:.0f} s left  {phases}  {loss}"
            print(text.rstrip(), file=sys.stderr, flush=True)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close(trainer.global_step)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message is not drawn over."""
        self._close(trainer.global_step)

    def _close(self, step: int) -> None:
        if self._bar:
            self._bar.update(self._task, completed=step)
            self._bar.stop()
            self._bar = None
