"""Pruning of samples that contribute nothing: too thin, or occluded."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

INTERVAL = 16
"""Optimiser steps between decisions; each reads one number from the device."""
WORTH = 0.6
"""Visible share below which evaluating the density first saves more than it costs; in fog 97 % of the samples are visible."""


class VisibilityPruning(nn.Module):
    """Decides whether training evaluates the density first. Its state is in the checkpoint: a resumed run continues exactly.

    Samples are visible if they weigh at least `threshold`; at 0 nothing is ever pruned.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("visible_share", torch.ones(()))
        self.register_buffer("worthwhile", torch.zeros((), dtype=torch.bool))
        self._pays = False
        """`worthwhile`, as the host last read it."""
        self.register_load_state_dict_post_hook(lambda module, _: module._read())

    def is_active(self) -> bool:
        """Whether to prune now: without gradients whenever there is a threshold, with gradients while it pays."""
        return self.threshold > 0 and (self._pays or not torch.is_grad_enabled())

    def measure(self, weights: Float[Tensor, "N"]) -> Float[Tensor, ""] | None:
        """Share of the samples, given their weights, that are visible; None if nothing depends on it."""
        if self.threshold == 0 or not len(weights) or not torch.is_grad_enabled():
            return None
        return (weights.detach() >= self.threshold).float().mean()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Decide again every `INTERVAL` steps."""
        if self.threshold > 0 and step % INTERVAL == 0:
            self.worthwhile.copy_(self.visible_share < WORTH)
            self._read()

    @torch.no_grad()
    def observe(self, visible_share: Float[Tensor, ""] | None) -> None:
        """Remember what the last render measured."""
        if visible_share is not None:
            self.visible_share.copy_(visible_share)

    def _read(self) -> None:
        self._pays = bool(self.worthwhile)
