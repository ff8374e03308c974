"""Learning rates and times of a step by phase, for loggers beside metrics.csv."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from threefusion.callback.metrics import CsvMetrics
from threefusion.system.phases import OTHER, PHASES, per_step


class TrackedNumbers(pl.Callback):
    """With each row of metrics, the learning rate of every group and the mean milliseconds of a step since the last one.

    Not in metrics.csv, which is the same for the same run.
    """

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Times count from here."""
        self._began, self._step, self._seconds = time.monotonic(), trainer.global_step, module.clock.seconds(0.0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log when a row is due."""
        step, loggers = trainer.global_step, [logger for logger in trainer.loggers if not isinstance(logger, CsvMetrics)]
        if not loggers or step == self._step or step % trainer.log_every_n_steps:
            return
        now, seconds = time.monotonic(), module.clock.seconds(0.0)
        since = {name: seconds[name] - self._seconds[name] for name in PHASES}
        since[OTHER] = now - self._began - sum(since.values())
        numbers = {f"milliseconds/{name}": value for name, value in per_step(since, step - self._step).items()}
        groups = trainer.optimizers[0].param_groups
        numbers |= {f"lr/{group['name']}" if len(groups) > 1 else "lr": group["lr"] for group in groups}
        for logger in loggers:
            logger.log_metrics(numbers, step)
        self._began, self._step, self._seconds = now, step, seconds
