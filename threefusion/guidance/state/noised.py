"""Views with added noise: score distillation sampling."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.state.state import State
from threefusion.types import ViewBatch


class Noised(State):
    """z = alpha x + sigma noise."""

    def forward(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        noise: Float[Tensor, "B C h w"],
        denoiser: Denoiser,
        views: ViewBatch,
    ) -> NoisedViews:
        """No evaluation of the network."""
        return NoisedViews.along(denoiser.schedule, x, noise, t)
