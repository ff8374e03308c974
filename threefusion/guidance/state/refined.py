"""States whose noise was replaced by its prediction (RFDS-Rev, arXiv 2406.03293)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.state.settings import RefinedConfig
from threefusion.guidance.state.state import State
from threefusion.types import ViewBatch


class Refined(State):
    """z = alpha x + sigma noise, after `iterations` times noise ← prediction under the prompt, without guidance, at z.

    In the paper's form the noise moves by (1 - s) times the error of the velocity; that leads to the predicted noise itself.
    """

    cfg: RefinedConfig

    def forward(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        noise: Float[Tensor, "B C h w"],
        denoiser: Denoiser,
        views: ViewBatch,
    ) -> NoisedViews:
        """The views with refined noise; one evaluation per iteration."""
        for _ in range(self.cfg.iterations):
            noise = denoiser.text(denoiser.schedule.add_noise(x, noise, t), t)
        return NoisedViews.along(denoiser.schedule, x, noise, t)
