"""Penalises opacity."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossTerm
from threefusion.types import RenderOutput, ViewBatch


class Sparsity(LossTerm):
    """Mean over pixels of sqrt(opacity^2 + 0.01) (DreamFusion, arXiv 2209.14988), which removes fog."""

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        return (render.opacity.square() + 0.01).sqrt().mean()
