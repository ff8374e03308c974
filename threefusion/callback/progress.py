"""The progress of a training: step, iterations per second, remaining time, loss; in logs also the time by phase."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl

from threefusion.machine.progress import ProgressLine
from threefusion.system.phases import as_text, per_step

NOTE = "(the loss is no measure of quality: look at images/)"


class TrainingProgress(pl.Callback):
    """Draws a `ProgressLine` with the loss of the last row: nothing here waits for the device."""

    def __init__(self) -> None:
        self._line: ProgressLine | None = None
        self._began = self._warm = 0.0
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the line, in one of several processes."""
        self._began, self._warm, self._first = time.monotonic(), 0.0, trainer.global_step
        if trainer.is_global_zero:
            self._line = ProgressLine()
            self._line.draw("step", self._first, self._total(trainer), NOTE)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw it again, if it is time to."""
        now, done, total = time.monotonic(), trainer.global_step - self._first, self._total(trainer)
        # the first step compiles kernels: it says nothing about the speed of the others
        self._warm = self._warm or now
        if self._line is None or not self._line.is_due("step") or done < 2:
            return
        rate = (done - 1) / max(now - self._warm, 1e-9)
        note = [f"{rate:.1f} it/s"]
        if total is not None:
            note.append(f"{timedelta(seconds=round((total - trainer.global_step) / rate))} left")
        if not self._line.bar:
            note.append(as_text(per_step(module.clock.seconds(now - self._began), done)))
        if (loss := trainer.callback_metrics.get("loss")) is not None:
            note.append(f"loss {float(loss):.3g}")
        self._line.draw("step", trainer.global_step, total, "  ".join(note))

    @staticmethod
    def _total(trainer: pl.Trainer) -> int | None:
        return None if trainer.max_steps < 0 else trainer.max_steps

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remove the line."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the line, so that the message is not drawn over."""
        self._close()

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
