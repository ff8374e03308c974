"""Priors whose every answer is known: anisotropic, a mixture, and Gaussians disguised as networks of each prediction type."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from threefusion.guidance.noise import signal_and_noise
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.settings import GaussianConfig, PixelConfig

COSINE = {"beta_schedule": "squaredcos_cap_v2"}


class AnisotropicGaussian(GaussianPrior):
    """N(μ, diag(variance)) with a variance per pixel: the network's Jacobian changes a residual's direction."""

    def __init__(self, cfg: GaussianConfig, variance: Tensor) -> None:
        super().__init__(cfg)
        self.variance = variance

    def predict_noise(self, z: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        alpha, sigma = signal_and_noise(self.alphas_cumprod, timesteps)
        mean = 2 * tokens[:, 0, :3, None, None] - 1
        return sigma * (z - alpha * mean) / (alpha**2 * self.variance + sigma**2)


class Counting(GaussianPrior):
    """A Gaussian that counts how many images it was asked about."""

    def __init__(self, cfg: GaussianConfig | None = None) -> None:
        super().__init__(cfg or GaussianConfig(image_size=4))
        self.evaluations = 0
        self.calls = 0

    def predict_noise(self, z: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        self.evaluations += len(z)
        self.calls += 1
        return super().predict_noise(z, timesteps, tokens)


class GaussianNetwork(nn.Module):
    """Answers as a U-Net trained on the Gaussian of its tokens would, in any prediction type, with further channels if asked."""

    def __init__(self, prediction_type: str, channels: int) -> None:
        super().__init__()
        self.prior = GaussianPrior(GaussianConfig())
        self.prediction_type = prediction_type
        self.channels = channels
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, timesteps: Tensor, tokens: Tensor, return_dict: bool) -> tuple[Tensor]:
        noise = self.prior.predict_noise(z, timesteps, tokens)
        alpha, sigma = signal_and_noise(self.prior.alphas_cumprod, timesteps)
        clean = (z - sigma * noise) / alpha
        output = {"epsilon": noise, "v_prediction": alpha * noise - sigma * clean, "sample": clean}[self.prediction_type]
        rest = torch.full((len(z), self.channels - 3, *z.shape[2:]), 7.0)
        return (torch.cat([output * self.weight, rest], dim=1),)


def disguised_gaussian(prediction_type: str, channels: int = 3, size: int = 8) -> PixelPrior:
    """A pixel prior that runs a `GaussianNetwork` instead of a U-Net."""
    prior = PixelPrior(PixelConfig(model="none/none", dtype="float32"))
    prior._settings = {
        "unet": {"in_channels": 3, "sample_size": size},
        "scheduler": COSINE | {"prediction_type": prediction_type},
    }
    prior._networks = {"unet": GaussianNetwork(prediction_type, channels).requires_grad_(False)}
    return prior
