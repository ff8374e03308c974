"""Closeness to what a training started from."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossTerm
from threefusion.types import RenderOutput, ViewBatch, Want


class Anchor(LossTerm):
    """Mean square difference, over the pixels that show the object, between the image and the same view of the start."""

    wants: ClassVar[Want] = Want(source=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        square = (render.image - render.source.image).square().mean(-1).flatten(1)
        return (square.sum(1) / render.opacity.detach().flatten(1).sum(1).clamp_min(1)).mean()
