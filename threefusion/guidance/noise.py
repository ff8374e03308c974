"""Noising: how much of it there is at timestep t, what a residual at t weighs, and which timesteps a step looks at.

`alpha` and `sigma` are √ᾱ_t and √(1 - ᾱ_t) of a variance-preserving process, always float32: in bfloat16 σ would be 0 at t = 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.types import ViewBatch

WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sigma2": lambda alpha, sigma: sigma**2,
    "uniform": lambda alpha, sigma: torch.ones_like(sigma),
    "alpha_sigma2": lambda alpha, sigma: alpha * sigma**2,
    "sigma_over_alpha": lambda alpha, sigma: sigma / alpha,
    "alpha_over_sigma": lambda alpha, sigma: alpha / sigma,
    "inv_sigma2": lambda alpha, sigma: 1 / sigma**2,
    "flow": lambda alpha, sigma: 1 + sigma / alpha,
}
"""w(t) by name: `sigma2` DreamFusion; `uniform` SJC; `alpha_sigma2` Latent-NeRF, Fantasia3D; `sigma_over_alpha` distances in x0;
`alpha_over_sigma` makes score distillation the gradient of a sum of KL divergences; `flow` rectified flow."""


def signal_and_noise(
    alphas_cumprod: Float[Tensor, "T"], timesteps: Int[Tensor, "B"]
) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
    """(alpha, sigma) at each timestep."""
    alpha_bar = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def add_noise(
    x: Float[Tensor, "B C h w"], noise: Float[Tensor, "B C h w"], timesteps: Int[Tensor, "B"], alphas_cumprod: Float[Tensor, "T"]
) -> Float[Tensor, "B C h w"]:
    """z_t = alpha x + sigma noise, in float32 whatever the network's precision."""
    alpha, sigma = signal_and_noise(alphas_cumprod, timesteps)
    return alpha * x + sigma * noise


def weight(name: str, alphas_cumprod: Float[Tensor, "T"], timesteps: Int[Tensor, "B"]) -> Float[Tensor, "B 1 1 1"]:
    """w(t) of the rule called `name`, a key of `WEIGHTS`."""
    return WEIGHTS[name](*signal_and_noise(alphas_cumprod, timesteps))


def timestep_range(t_min: float, t_max: float, length: int) -> tuple[int, int]:
    """First and last timestep, both included, for bounds given as fractions of the `length` of the noise schedule."""
    # The small summand keeps a product such as 0.29 * 100 = 28.999… from being floored to 28.
    last = min(int(t_max * length + 1e-6), length - 1)
    return min(int(t_min * length + 1e-6), last), last


def draw_timesteps(batch: ViewBatch, t_min: float, t_max: float, length: int) -> Int[Tensor, "B"]:
    """A timestep per view, uniform over `timestep_range`, from the views' own generators."""
    first, last = timestep_range(t_min, t_max, length)
    count = last - first + 1
    return first + (batch.rand("timestep") * count).long().clamp(max=count - 1)
