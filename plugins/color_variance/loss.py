"""A loss that keeps colours from breaking into speckles."""

from __future__ import annotations

from color_variance.settings import ColorVarianceConfig
from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossTerm
from threefusion.types import RenderOutput, ViewBatch


class ColorVariance(LossTerm):
    """Mean over views of the variance of colour over the pixels that show the object: 0 for an object of one colour."""

    def __init__(self, cfg: ColorVarianceConfig) -> None:
        super().__init__(cfg)
        self.cfg = cfg

    def forward(self, render: RenderOutput, batch: ViewBatch) -> Float[Tensor, ""]:
        """The variance, weighted by opacity; opacity itself is not moved."""
        weight = render.opacity.detach() * (render.opacity.detach() > self.cfg.min_opacity)
        total = weight.sum((1, 2), keepdim=True).clamp_min(1)  # a view that shows nothing has no variance
        mean = (weight * render.image).sum((1, 2), keepdim=True) / total
        return (weight * (render.image - mean).square() / total).sum((1, 2, 3)).mean()
