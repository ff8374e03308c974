"""States of interval score matching (LucidDreamer, arXiv 2311.11284)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.ode import ddim_step, invert
from threefusion.guidance.state.settings import IntervalConfig
from threefusion.guidance.state.state import State
from threefusion.types import ViewBatch


class Interval(State):
    """x inverted without a prompt to s = t - interval, then one step further to t; its noise is the prediction at s.

    The residual of an objective is then the prediction at t minus the one at s, equation 17.
    """

    cfg: IntervalConfig

    def forward(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        noise: Float[Tensor, "B C h w"],
        denoiser: Denoiser,
        views: ViewBatch,
    ) -> NoisedViews:
        """The inverted views; one evaluation per step of the inversion and one at s."""
        schedule = denoiser.schedule
        s = (t - self.cfg.interval(views.step)).clamp(min=0)
        count = max(1, int(torch.ceil(s.max() / self.cfg.stride - 1e-6)))
        times = torch.stack([s.clamp(max=(i + 1) * self.cfg.stride) for i in range(count)])
        z = invert(x, times, schedule, denoiser.uncond)
        before = denoiser.uncond(z, s)
        coefficients = schedule.coefficients(t)
        return NoisedViews(x, ddim_step(z, before, schedule.coefficients(s), coefficients), before, t, *coefficients)
