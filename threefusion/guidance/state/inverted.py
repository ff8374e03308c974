"""States of score distillation via inversion (arXiv 2405.15891)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import LATEST, NoisedViews
from threefusion.guidance.ode import invert
from threefusion.guidance.state.settings import InvertedConfig
from threefusion.guidance.state.state import State
from threefusion.types import ViewBatch


class Inverted(State):
    """z = alpha x + sigma κ at time t, with the noise κ that an inversion of x under the prompt ends with (algorithm 1).

    The inversion goes a little beyond t. At t itself κ would be the fixed point of the prediction, and the residual 0.
    """

    cfg: InvertedConfig

    def forward(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        noise: Float[Tensor, "B C h w"],
        denoiser: Denoiser,
        views: ViewBatch,
    ) -> NoisedViews:
        """The views with inverted noise; `steps` times t predictions under guidance."""
        schedule = denoiser.schedule
        end = torch.maximum(t, (t + self.cfg.beyond * views.rand_per_group("beyond")).clamp(max=LATEST))
        # of each view its own, so that a view does not depend on its batch; one that has arrived stays where it is
        count = (self.cfg.steps * t + 1e-6).floor().clamp(min=1)
        times = torch.stack([end * ((i + 1) / count).clamp(max=1) for i in range(int(count.max()))])
        plain = NoisedViews.along(schedule, x, noise, t)

        def predict(z: Float[Tensor, "B C h w"], time: Float[Tensor, "B"]) -> Float[Tensor, "B C h w"]:
            return denoiser.guided(plain.at(z, time, schedule), self.cfg.guidance_scale)

        inverted = invert(x, times, schedule, predict)
        alpha, sigma = schedule.coefficients(end)
        kappa = (inverted - alpha * x) / sigma + self.cfg.stochasticity * plain.sigma * noise
        return NoisedViews.along(schedule, x, kappa, t)
