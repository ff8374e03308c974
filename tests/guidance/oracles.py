"""Priors whose every answer is known: anisotropic, a mixture, and Gaussians disguised as networks of each prediction type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from threefusion.guidance.prior.conditioning import Conditioning, Prediction
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.schedule import NoiseSchedule
from threefusion.guidance.prior.settings import GaussianConfig, PixelConfig

COSINE = {
    "_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "trained_betas": None, "num_train_timesteps": 1000,
    "beta_start": 1e-4, "beta_end": 0.02,
}  # fmt: skip


class AnisotropicGaussian(GaussianPrior):
    """N(μ, diag(variance)) with a variance per pixel: the network's Jacobian changes a residual's direction."""

    def __init__(self, cfg: GaussianConfig, variance: Tensor) -> None:
        super().__init__(cfg)
        self.variance = variance

    def _predict(self, z: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        alpha, sigma = self.schedule.coefficients(t)
        mean = 2 * condition.tokens[:, 0, :3, None, None] - 1
        return sigma * (z - alpha * mean) / (alpha**2 * self.variance + sigma**2)


class GaussianNetwork(nn.Module):
    """Answers as a U-Net trained on the Gaussian of its tokens would, in any prediction type, with further channels if asked."""

    def __init__(self, prediction_type: str, channels: int) -> None:
        super().__init__()
        self.prior = GaussianPrior(GaussianConfig())
        self.prediction_type = prediction_type
        self.channels = channels
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, timesteps: Tensor, tokens: Tensor, return_dict: bool) -> tuple[Tensor]:
        prediction = self.prior.predict(z, timesteps / 1000, Conditioning(tokens))
        output = {"epsilon": prediction.noise, "v_prediction": prediction.velocity, "sample": prediction.clean}
        output = output[self.prediction_type]
        rest = torch.full((len(z), self.channels - 3, *z.shape[2:]), 7.0)
        return (torch.cat([output * self.weight, rest], dim=1),)


class Echo(Critic):
    """Answers as the prior does, for networks without attention layers."""

    def __init__(self, prior: PixelPrior) -> None:
        super().__init__()
        self.prior, self.zero = prior, nn.Parameter(torch.zeros(1, 1, 1, 1))

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def forward(self, z: Tensor, t: Tensor, condition: Conditioning, pose: Tensor) -> Prediction:
        prediction = self.prior.predict(z, t, condition)
        return replace(prediction, output=prediction.output + self.zero)


def disguised_gaussian(prediction_type: str, channels: int = 3, size: int = 8) -> PixelPrior:
    """A pixel prior that runs a `GaussianNetwork` instead of a U-Net."""
    prior = PixelPrior(PixelConfig(model="none/none", dtype="float32"))
    prior._settings = {
        "unet": ModelSettings(Path("unet"), {"in_channels": 3, "sample_size": size}),
        "scheduler": ModelSettings(Path("scheduler"), COSINE | {"prediction_type": prediction_type}),
    }
    prior._networks = {"unet": GaussianNetwork(prediction_type, channels).requires_grad_(False)}
    prior.critic = lambda cfg: Echo(prior)
    return prior
