"""Encoded views with noise: what a prior's network is evaluated at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.schedule import NoiseSchedule

LATEST = 0.98
"""Latest time to which an objective moves on from the drawn one: at 1 some schedules have no signal to divide by."""


@dataclass(frozen=True)
class NoisedViews:
    """A batch of encoded views, noised."""

    x: Float[Tensor, "B C h w"]
    """The views in the prior's space."""
    z: Float[Tensor, "B C h w"]
    """The noised state; alpha x + sigma noise, unless an inversion left the straight line from x."""
    noise: Float[Tensor, "B C h w"]
    """What a prediction of the noise at z is compared with."""
    t: Float[Tensor, "B"]
    """Time in [0, 1] on the prior's schedule."""
    alpha: Float[Tensor, "B 1 1 1"]
    sigma: Float[Tensor, "B 1 1 1"]

    @staticmethod
    def along(
        schedule: NoiseSchedule, x: Float[Tensor, "B C h w"], noise: Float[Tensor, "B C h w"], t: Float[Tensor, "B"]
    ) -> NoisedViews:
        """The states alpha x + sigma noise at time t."""
        return NoisedViews(x, schedule.add_noise(x, noise, t), noise, t, *schedule.coefficients(t))

    def clean(self, noise: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The clean sample that belongs to a prediction of the noise, x0 = (z - sigma noise) / alpha."""
        return (self.z - self.sigma * noise) / self.alpha

    def at(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], schedule: NoiseSchedule) -> NoisedViews:
        """The same views in another state."""
        alpha, sigma = schedule.coefficients(t)
        return replace(self, z=z, t=t, alpha=alpha, sigma=sigma)
