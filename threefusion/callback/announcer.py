"""Says how far a training is, in messages."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from threefusion.messages import Logged, Started, Step, StepsEnded, has_listeners, send
from threefusion.system.objectives import active
from threefusion.system.phases import OTHER, PHASES, per_step


class Announcer(pl.Callback, Logger):
    """Sends `Started`, `Step`, `Logged` and `StepsEnded` of a stage, in one of several processes. Nothing waits for the device.

    A logger too, because Lightning makes the row of a step after all callbacks.
    """

    name, version = "messages", ""

    def __init__(self, run: Path, stage: str, earlier_steps: int) -> None:
        Logger.__init__(self)
        self.run, self.stage, self.earlier_steps = run, stage, earlier_steps
        self._module: Any = None
        """While steps are taken, in the process that speaks."""
        self._began = self._warm = self._row_began = 0.0
        self._first = self._step = self._row_step = 0
        self._row_seconds: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Times count from here."""
        if not trainer.is_global_zero:
            return
        self._module = module
        self._began = self._row_began = self._now()
        self._first = self._step = self._row_step = trainer.global_step
        self._row_seconds = module.clock.seconds(0.0)
        origin = "" if self._first else module.scene.origin
        send(Started(self.run, self.stage, self._first, last_step(trainer), self.earlier_steps, origin))

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Send the step, if it is one: it may have several micro-batches."""
        step = trainer.global_step
        if self._module is None or step == self._step or not has_listeners():
            return
        self._step, done, now = step, step - self._first, self._now()
        # the first step compiles kernels: it says nothing about the speed of the others
        self._warm = self._warm or now
        rate = (done - 1) / max(now - self._warm, 1e-9) if done > 1 else None
        milliseconds = per_step(module.clock.seconds(now - self._began), done)
        send(Step(self.run, self.stage, step, last_step(trainer), rate, milliseconds))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send the row, with what is not in metrics.csv, which is the same for the same run."""
        row = {name: value for name, value in metrics.items() if name != "epoch"}
        if not row or self._module is None or not has_listeners():
            return
        groups = self._module.trainer.optimizers[0].param_groups
        rates = {f"lr/{group['name']}" if len(groups) > 1 else "lr": group["lr"] for group in groups}
        parts = (active(self._module.guidance, step) | active(self._module.losses, step)).items()
        weights = {name: float(weight) for name, (_, weight) in parts}
        send(Logged(self.run, self.stage, step, row, weights, rates, self._milliseconds_since_row()))

    def _now(self) -> float:
        """Seconds, of which those at a viewer are none."""
        return time.monotonic() - self._module.clock.aside

    def _milliseconds_since_row(self) -> dict[str, float]:
        now, seconds, step = self._now(), self._module.clock.seconds(0.0), self._module.global_step
        since = {name: seconds[name] - self._row_seconds[name] for name in PHASES}
        since[OTHER] = now - self._row_began - sum(since.values())
        steps, self._row_began, self._row_step, self._row_seconds = step - self._row_step, now, step, seconds
        return per_step(since, steps)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """No step follows."""
        self._end()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        """No step follows."""
        self._end()

    def _end(self) -> None:
        if self._module is not None:
            self._module = None
            send(StepsEnded(self.run, self.stage))


def last_step(trainer: pl.Trainer) -> int | None:
    """The step at which the training ends; None if only the time limits it."""
    return None if trainer.max_steps < 0 else trainer.max_steps
