"""The judgement of images by a frozen diffusion model: the base of all objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from threefusion.component import Component
from threefusion.guidance.noise import add_noise, draw_timesteps, signal_and_noise, weight
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.settings import GuidanceConfig
from threefusion.types import GuidanceOutput, PromptEmbeddings, ViewBatch


@dataclass(frozen=True)
class NoisedViews:
    """A batch of views, noised: where an objective asks the prior for its opinion."""

    x: Float[Tensor, "B C h w"]
    """The views in the prior's space."""
    z: Float[Tensor, "B C h w"]
    """alpha x + sigma noise."""
    noise: Float[Tensor, "B C h w"]
    timesteps: Int[Tensor, "B"]
    alpha: Float[Tensor, "B 1 1 1"]
    sigma: Float[Tensor, "B 1 1 1"]
    step: int
    """The optimiser step, for schedules."""


class Guidance(Component):
    """An objective: it looks at images and says, through the gradient of its loss, how they should change.

    It is written against `DiffusionPrior` alone, so every objective runs on every prior. Timesteps and noise come from the
    views' own generators: neither the way a batch is split nor a resume changes them.
    """

    kind: ClassVar[str] = "guidance"

    def __init__(self, cfg: GuidanceConfig, prior: DiffusionPrior) -> None:
        super().__init__()
        self.cfg = cfg
        self.prior = prior

    def forward(self, image: Float[Tensor, "B H W 3"], embedding: PromptEmbeddings, batch: ViewBatch) -> GuidanceOutput:
        """The loss, a mean over views, and what to log. `image` holds colours in [0, 1]."""
        raise NotImplementedError

    def encode(self, image: Float[Tensor, "B H W 3"], batch: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The images in the prior's space; gradient flows."""
        noise = batch.randn("posterior", *self.prior.shape) if self.prior.stochastic_encoder else None
        return self.prior.encode(image, noise)

    def noised(self, x: Float[Tensor, "B C h w"], batch: ViewBatch) -> NoisedViews:
        """The views at one fresh timestep and noise each; `z` has a gradient if `x` has."""
        table = self.prior.alphas_cumprod
        timesteps = draw_timesteps(batch, self.cfg.t_min(batch.step), self.cfg.t_max(batch.step), len(table))
        noise = batch.randn("noise", *x.shape[1:])
        alpha, sigma = signal_and_noise(table, timesteps)
        return NoisedViews(x, add_noise(x, noise, timesteps, table), noise, timesteps, alpha, sigma, batch.step)

    def weight(self, views: NoisedViews) -> Float[Tensor, "B 1 1 1"]:
        """w(t) of each view."""
        return weight(self.cfg.weight, self.prior.alphas_cumprod, views.timesteps)
