"""Leaving out samples that are too thin, or too deep inside, to be seen."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

INTERVAL = 16
"""Optimiser steps between decisions; each reads one number from the device."""
WORTH = 0.6
"""Share of samples that are seen below which a first look at the density alone saves more than it costs; fog keeps 97 %."""


class VisibilityPruning(nn.Module):
    """Decides whether training looks at the density first. Its numbers belong to the checkpoint: a resumed run goes on as it was.

    Samples are seen if they weigh at least `threshold`; at 0 nothing is ever pruned.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("seen", torch.ones(()))
        self.register_buffer("worthwhile", torch.zeros((), dtype=torch.bool))
        self._active: bool | None = None

    @property
    def active(self) -> bool:
        """Whether to prune now: in evaluation whenever there is a threshold, in training while it pays."""
        if self.threshold == 0 or not self.training:
            return self.threshold > 0
        if self._active is None:
            self._active = bool(self.worthwhile)
        return self._active

    @torch.no_grad()
    def on_step(self, step: int) -> None:
        """Decide anew, now and then."""
        if self.threshold > 0 and step % INTERVAL == 0:
            self.worthwhile.copy_(self.seen < WORTH)
            self._active = None

    @torch.no_grad()
    def observe(self, weights: Float[Tensor, "N"]) -> None:
        """Measure which share of all samples, whose weights these are, is seen."""
        if self.threshold > 0 and self.training and len(weights):
            self.seen.copy_((weights >= self.threshold).float().mean())
