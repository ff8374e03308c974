"""A prior in closed form: the exact noise predictor of a Gaussian over images, against which every objective can be tested."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.guidance.prior.conditioning import Conditioning, Prediction
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.image import channels_first, channels_last, resize
from threefusion.guidance.prior.prior import DiffusionPrior, TextEncoder
from threefusion.guidance.prior.schedule import NoiseSchedule, VariancePreserving, alphas_cumprod
from threefusion.guidance.prior.settings import CriticConfig, GaussianConfig


class ColorTexts(TextEncoder):
    """The "embedding" of a text is the Gaussian that it stands for: one token of mean colour and standard deviation."""

    def __init__(self, cfg: GaussianConfig) -> None:
        self.cfg = cfg

    def encode(self, texts: list[str]) -> Conditioning:
        """The unconditional Gaussian for the empty text, the conditional one for every other."""
        with_prompt, without = (*self.cfg.mean, self.cfg.std), (*self.cfg.uncond_mean, self.cfg.uncond_std)
        return Conditioning(torch.tensor([[with_prompt if text else without] for text in texts]))


class GaussianCritic(Critic):
    """The same prior with a mean colour and a standard deviation that are trained, as changes of those of the text."""

    def __init__(self, prior: GaussianPrior) -> None:
        super().__init__()
        self.prior = prior
        self.shift = nn.Parameter(torch.zeros(3))
        self.log_ratio = nn.Parameter(torch.zeros(1))

    @property
    def schedule(self) -> NoiseSchedule:
        """The prior's."""
        return self.prior.schedule

    def forward(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning, pose: Float[Tensor, "B 16"]
    ) -> Prediction:
        """The exact prediction for the changed Gaussian, from wherever it is seen."""
        # of a mixture all modes are moved alike; their weights follow in the tokens
        mean, std, rest = condition.tokens.tensor_split((3, 4), dim=-1)
        return self.prior.predict(z, t, Conditioning(torch.cat([mean + self.shift, std * self.log_ratio.exp(), rest], dim=-1)))


class GaussianPrior(DiffusionPrior):
    """N(μ, s² I) over images in [-1, 1], whose noise is predicted exactly: sigma (z - alpha μ) / (alpha² s² + sigma²)."""

    cfg: GaussianConfig

    @property
    def shape(self) -> tuple[int, int, int]:
        """Three channels in [-1, 1]."""
        return (3, self.cfg.image_size, self.cfg.image_size)

    def read_schedule(self) -> VariancePreserving:
        """The configured schedule."""
        return VariancePreserving(alphas_cumprod({"beta_schedule": self.cfg.beta_schedule}))

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Colours at the prior's size, mapped to [-1, 1]."""
        return channels_first(resize(rgb.float(), self.cfg.image_size))

    def _predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Float[Tensor, "B C h w"]:
        """sigma (z - alpha μ) / (alpha² s² + sigma²), with μ and s from the tokens."""
        alpha, sigma = self.schedule.coefficients(t)
        mean = 2 * condition.tokens[:, 0, :3, None, None] - 1
        variance = alpha**2 * condition.tokens[:, 0, 3, None, None, None] ** 2 + sigma**2
        return sigma * (z - alpha * mean) / variance

    def critic(self, cfg: CriticConfig) -> GaussianCritic:
        """A Gaussian of its own."""
        return GaussianCritic(self).to(self.device)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """[-1, 1] mapped to colours."""
        return channels_last(x)

    def text_encoder(self) -> TextEncoder:
        """Encodes every text but the empty one as the conditional Gaussian."""
        return ColorTexts(self.cfg)
