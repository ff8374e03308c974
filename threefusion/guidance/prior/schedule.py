"""Noise schedules: how much of a noised state is signal and how much is noise, as a function of time.

Coefficients are float32 whatever the network's precision: in bfloat16 sigma would be 0 at the first timestep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from math import cos, pi
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.errors import UserError

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
"""Supported rules of a table, by diffusers' names."""
Coefficients = tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]


class NoiseSchedule(ABC):
    """Defines the noised states z = alpha(t) x + sigma(t) noise for times t in [0, 1]: 0 is clean, 1 is noise."""

    @abstractmethod
    def coefficients(self, t: Float[Tensor, "B"]) -> Coefficients:
        """(alpha, sigma) at each time."""

    @abstractmethod
    def timesteps(self, t: Float[Tensor, "B"]) -> Tensor:
        """What a network is given as the time, `[B]`."""

    @abstractmethod
    def rates(self, alpha: Float[Tensor, "B 1 1 1"], sigma: Float[Tensor, "B 1 1 1"]) -> Coefficients:
        """The derivatives of (alpha, sigma) along the schedule's own clock; velocity = rate_alpha x + rate_sigma noise.

        Their determinant alpha rate_sigma - sigma rate_alpha has to be 1.
        """

    @abstractmethod
    def draw(self, uniform: Float[Tensor, "B"], t_min: float, t_max: float) -> Float[Tensor, "B"]:
        """Times spread evenly over t_min to t_max, from uniform numbers in [0, 1)."""

    def add_noise(
        self, x: Float[Tensor, "B C h w"], noise: Float[Tensor, "B C h w"], t: Float[Tensor, "B"]
    ) -> Float[Tensor, "B C h w"]:
        """The noised states z = alpha x + sigma noise.

        >>> schedule = RectifiedFlow()
        >>> schedule.add_noise(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([0.25])).item()
        0.75
        """
        alpha, sigma = self.coefficients(t)
        return alpha * x + sigma * noise

    def to(self, device: torch.device) -> NoiseSchedule:
        """The same schedule with its tables on `device`."""
        return self


class VariancePreserving(NoiseSchedule):
    """alpha² + sigma² = 1, from a table of T timesteps; time t is timestep t T.

    >>> schedule = VariancePreserving(torch.tensor([0.96, 0.64, 0.36, 0.04]))
    >>> alpha, sigma = schedule.coefficients(torch.tensor([0.5]))
    >>> round(alpha.item(), 2), round(sigma.item(), 2)
    (0.6, 0.8)
    """

    def __init__(self, alphas_cumprod: Float[Tensor, "T"]) -> None:
        self.alphas_cumprod = alphas_cumprod

    def timesteps(self, t: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
        """The nearest timestep of the table: what the network is given."""
        length = len(self.alphas_cumprod)
        return (t * length).round().long().clamp(max=length - 1)

    def coefficients(self, t: Float[Tensor, "B"]) -> Coefficients:
        """The square roots of ᾱ and 1 - ᾱ at the nearest timestep."""
        alpha_bar = self.alphas_cumprod[self.timesteps(t)].view(-1, 1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def rates(self, alpha: Float[Tensor, "B 1 1 1"], sigma: Float[Tensor, "B 1 1 1"]) -> Coefficients:
        """Derivatives with respect to the angle of (alpha, sigma) (v-prediction, arXiv 2202.00512)."""
        return -sigma, alpha

    def timestep_range(self, t_min: float, t_max: float) -> tuple[int, int]:
        """The first and the last timestep between two times, both included."""
        length = len(self.alphas_cumprod)
        # The small summand keeps a product such as 0.29 * 100 = 28.999… from being floored to 28.
        last = min(int(t_max * length + 1e-6), length - 1)
        return min(int(t_min * length + 1e-6), last), last

    def draw(self, uniform: Float[Tensor, "B"], t_min: float, t_max: float) -> Float[Tensor, "B"]:
        """Times of whole timesteps, each timestep of the range equally likely."""
        first, last = self.timestep_range(t_min, t_max)
        count = last - first + 1
        return (first + (uniform * count).long().clamp(max=count - 1)) / len(self.alphas_cumprod)

    def to(self, device: torch.device) -> VariancePreserving:
        """The same schedule with its table on `device`."""
        return VariancePreserving(self.alphas_cumprod.to(device))


class RectifiedFlow(NoiseSchedule):
    """Straight paths from x to noise (arXiv 2209.03003): alpha = 1 - s, sigma = s, with the noise level s = `noise_level(t)`.

    >>> alpha, sigma = RectifiedFlow(shift=3.0).coefficients(torch.tensor([0.5]))
    >>> alpha.item(), sigma.item()
    (0.25, 0.75)
    """

    def __init__(self, shift: float = 1.0, length: int = 1000) -> None:
        self.shift = shift
        self.length = length

    def timesteps(self, t: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        """The noise level times the number of timesteps in training."""
        return self.noise_level(t) * self.length

    def noise_level(self, t: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        """shift t / (1 + (shift - 1) t), which spends more time at high noise if shift > 1 (arXiv 2403.03206, section 5.3.2)."""
        return self.shift * t / (1 + (self.shift - 1) * t)

    def coefficients(self, t: Float[Tensor, "B"]) -> Coefficients:
        """(1 - s, s)."""
        level = self.noise_level(t).view(-1, 1, 1, 1)
        return 1 - level, level

    def rates(self, alpha: Float[Tensor, "B 1 1 1"], sigma: Float[Tensor, "B 1 1 1"]) -> Coefficients:
        """Derivatives with respect to s: the velocity is noise - x."""
        return -torch.ones_like(alpha), torch.ones_like(sigma)

    def draw(self, uniform: Float[Tensor, "B"], t_min: float, t_max: float) -> Float[Tensor, "B"]:
        """Any time between the bounds."""
        return t_min + (t_max - t_min) * uniform


class VariancePreservingFlow(NoiseSchedule):
    """A rectified flow in variance-preserving states z = z_f / sqrt((1 - s)² + s²), with z_f = (1 - s) x + s noise.

    Signal and noise have the flow's ratio at every time, so that nothing but their common scale differs.

    >>> alpha, sigma = VariancePreservingFlow(RectifiedFlow()).coefficients(torch.tensor([0.0, 0.5, 1.0]))
    >>> alpha.flatten().tolist() == sigma.flatten().flip(0).tolist(), round(alpha[1].item() ** 2, 3)
    (True, 0.5)
    """

    def __init__(self, flow: RectifiedFlow) -> None:
        self.flow = flow

    def coefficients(self, t: Float[Tensor, "B"]) -> Coefficients:
        """The flow's coefficients over their norm."""
        signal, level = self.flow.coefficients(t)
        norm = torch.hypot(signal, level)
        return signal / norm, level / norm

    def timesteps(self, t: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Those of the flow."""
        return self.flow.timesteps(t)

    def rates(self, alpha: Float[Tensor, "B 1 1 1"], sigma: Float[Tensor, "B 1 1 1"]) -> Coefficients:
        """Derivatives with respect to the angle of (alpha, sigma)."""
        return -sigma, alpha

    def draw(self, uniform: Float[Tensor, "B"], t_min: float, t_max: float) -> Float[Tensor, "B"]:
        """Those of the flow."""
        return self.flow.draw(uniform, t_min, t_max)

    def to_flow(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"]) -> Float[Tensor, "B C h w"]:
        """The flow's states z_f."""
        return torch.hypot(*self.flow.coefficients(t)) * z

    def velocity(
        self, z: Float[Tensor, "B C h w"], flow: Float[Tensor, "B C h w"], t: Float[Tensor, "B"]
    ) -> Float[Tensor, "B C h w"]:
        """alpha noise - sigma x from the velocity `flow` = noise - x; nothing is divided by, so that both ends are exact."""
        signal, level = self.flow.coefficients(t)
        return (signal - level) * z + torch.hypot(signal, level) * flow


def alphas_cumprod(config: Mapping[str, Any]) -> Float[Tensor, "T"]:
    """The table ᾱ of a diffusers scheduler config, computed in float64 and stored in float32.

    Raises:
        UserError: the schedule is not supported.

    >>> alphas_cumprod({"beta_start": 0.1, "beta_end": 0.1, "num_train_timesteps": 3})
    tensor([0.9000, 0.8100, 0.7290])
    """
    betas = _betas(config)
    table = torch.cumprod(1 - betas, 0)
    if config.get("rescale_betas_zero_snr"):
        root = table.sqrt()
        # arXiv 2305.08891, algorithm 1: shift so that no signal is left at the end, scale so that the start stays.
        table = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return table.float()


def _betas(config: Mapping[str, Any]) -> Float[Tensor, "T"]:
    """The variances added per timestep, float64."""
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    length = config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    rule = config.get("beta_schedule", "linear")
    if rule not in BETA_SCHEDULES:
        raise UserError(f"unsupported beta_schedule {rule!r}; supported: {', '.join(BETA_SCHEDULES)}")
    if rule == "linear":
        return torch.linspace(start, end, length, dtype=torch.float64)
    if rule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, length, dtype=torch.float64) ** 2
    remaining = [cos((t / length + 0.008) / 1.008 * pi / 2) ** 2 for t in range(length + 1)]
    return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(remaining)], dtype=torch.float64)
