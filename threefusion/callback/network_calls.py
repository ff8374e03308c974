"""How often a run asks its prior."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from threefusion.guidance.prior.prior import DiffusionPrior


class NetworkCalls(pl.Callback):
    """Counts how often a prior was asked for noise, and about how many noised pictures altogether; a resumed run counts on."""

    def __init__(self) -> None:
        self.calls, self.images = 0, 0

    def count(self, prior: DiffusionPrior) -> None:
        """Count from now on."""
        asked = prior.predict_noise

        def counted(z: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
            self.calls += 1
            self.images += len(z)
            return asked(z, timesteps, tokens)

        prior.predict_noise = counted

    def state_dict(self) -> dict[str, Any]:
        """Both counts."""
        return {"calls": self.calls, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's counts."""
        self.calls, self.images = state_dict["calls"], state_dict["images"]
