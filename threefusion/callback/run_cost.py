"""Cost of a run so far: wall time and evaluations of the priors' networks."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from threefusion.guidance.prior.prior import DiffusionPrior


class RunCost(pl.Callback):
    """Adds up over all parts of a resumed run; what a killed part did after its last checkpoint is not counted.

    Lightning's own Timer would take the place of the one that enforces `trainer.max_time`.
    """

    def __init__(self) -> None:
        self.earlier = {"seconds": 0.0, "calls": 0, "images": 0}
        """Totals of the parts before this one."""
        self._priors: tuple[DiffusionPrior, ...] = ()
        self._before = {"calls": 0, "images": 0}
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def part(self) -> float:
        """Seconds of training in this part."""
        if self._began is None:
            return 0.0
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    @property
    def total(self) -> dict[str, Any]:
        """Seconds, network calls and noised images of all parts."""
        counted = self._counted()
        now = {"seconds": self.part} | {name: counted[name] - self._before[name] for name in counted}
        return {name: self.earlier[name] + now[name] for name in now}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time and evaluations count from here."""
        self._priors = module.priors
        self._before = self._counted()
        self._began = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time stops here."""
        self._ended = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The totals."""
        return self.total

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.earlier = dict(state_dict)

    def _counted(self) -> dict[str, int]:
        counts = [prior.evaluations for prior in self._priors]
        return {"calls": sum(count.calls for count in counts), "images": sum(count.images for count in counts)}
