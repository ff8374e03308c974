"""A prior in closed form: the exact noise predictor of a Gaussian over images. Every objective can be checked against it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.guidance.noise import signal_and_noise
from threefusion.guidance.prior.conversion import alphas_cumprod
from threefusion.guidance.prior.image import channels_first, channels_last, resize
from threefusion.guidance.prior.prior import DiffusionPrior, TextEncoder
from threefusion.guidance.prior.settings import GaussianConfig


class ColorTexts(TextEncoder):
    """The "embedding" of a text is the Gaussian that it stands for: one token of mean colour and standard deviation."""

    def __init__(self, cfg: GaussianConfig) -> None:
        self.cfg = cfg

    def encode(self, texts: list[str]) -> Float[Tensor, "n 1 4"]:
        """The empty text is the unconditional Gaussian; every other is the conditional one."""
        with_prompt, without = (*self.cfg.mean, self.cfg.std), (*self.cfg.uncond_mean, self.cfg.uncond_std)
        return torch.tensor([[with_prompt if text else without] for text in texts])


class GaussianPrior(DiffusionPrior):
    """N(μ, s² I) over images in [-1, 1], whose noise is predicted exactly: sigma (z - alpha μ) / (alpha² s² + sigma²)."""

    def __init__(self, cfg: GaussianConfig) -> None:
        super().__init__()
        self.cfg = cfg

    @property
    def shape(self) -> tuple[int, int, int]:
        """Three channels in [-1, 1]."""
        return (3, self.cfg.image_size, self.cfg.image_size)

    def read_schedule(self) -> Float[Tensor, "T"]:
        """ᾱ_t of the configured schedule."""
        return alphas_cumprod({"beta_schedule": self.cfg.beta_schedule})

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Colours at the prior's size, mapped to [-1, 1]."""
        return channels_first(resize(rgb.float(), self.cfg.image_size))

    def predict_noise(
        self, z: Float[Tensor, "B C h w"], timesteps: Int[Tensor, "B"], tokens: Float[Tensor, "B L D"]
    ) -> Float[Tensor, "B C h w"]:
        """sigma (z - alpha μ) / (alpha² s² + sigma²), with μ and s from the tokens."""
        alpha, sigma = signal_and_noise(self.alphas_cumprod, timesteps)
        mean = 2 * tokens[:, 0, :3, None, None] - 1
        variance = alpha**2 * tokens[:, 0, 3, None, None, None] ** 2 + sigma**2
        return sigma * (z - alpha * mean) / variance

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """[-1, 1] mapped to colours."""
        return channels_last(x)

    def text_encoder(self) -> TextEncoder:
        """Every text but the empty one means the conditional Gaussian."""
        return ColorTexts(self.cfg)
