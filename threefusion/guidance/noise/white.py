"""Noise that knows nothing of the scene."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.noise.noise import Noise
from threefusion.types import RenderOutput, ViewBatch


class White(Noise):
    """New noise in every step and view: score distillation sampling."""

    def forward(self, shape: tuple[int, int, int], views: ViewBatch, render: RenderOutput) -> Float[Tensor, "B C h w"]:
        """From the views' own generators."""
        return views.randn("noise", *shape)


class Fixed(Noise):
    """The noise of the first step, for ever: one sample of the prior is approached instead of its mean."""

    def forward(self, shape: tuple[int, int, int], views: ViewBatch, render: RenderOutput) -> Float[Tensor, "B C h w"]:
        """By the position of a view in the batch alone."""
        return replace(views, step=0).randn("noise", *shape)
