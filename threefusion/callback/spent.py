"""What a run has cost so far: time, and questions to its prior."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from threefusion.guidance.prior.prior import DiffusionPrior


class Spent(pl.Callback):
    """Adds up over all parts of a resumed run; what a killed one did after its last checkpoint is not counted.

    Lightning's own Timer would take the place of the one that keeps `trainer.max_time`.
    """

    def __init__(self) -> None:
        self.calls, self.images = 0, 0
        """How often the prior was asked for noise, and about how many noised pictures altogether."""
        self.earlier = 0.0
        """Seconds of the parts before this one."""
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def part(self) -> float:
        """Seconds of training in this part."""
        if self._began is None:
            return 0.0
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    def count(self, prior: DiffusionPrior) -> None:
        """Count what is asked of `prior` from now on."""
        asked = prior.predict_noise

        def counted(z: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
            self.calls += 1
            self.images += len(z)
            return asked(z, timesteps, tokens)

        prior.predict_noise = counted

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time runs from here."""
        self._began = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time stops here."""
        self._ended = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Everything so far."""
        return {"seconds": self.earlier + self.part, "calls": self.calls, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.earlier, self.calls, self.images = (state_dict[name] for name in ("seconds", "calls", "images"))
