"""Penalises semi-transparent pixels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossTerm
from threefusion.types import RenderOutput, ViewBatch

_MARGIN = 1e-3


class Opaqueness(LossTerm):
    """Mean over pixels of the entropy of opacity, BCE(o, o): almost 0 where a pixel is opaque or empty, ln 2 halfway."""

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        # the logarithm's derivative has no bound at 0 and 1
        opacity = render.opacity.clamp(_MARGIN, 1 - _MARGIN)
        return -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
