"""The probability-flow ODE of a prior, in steps of DDIM (arXiv 2010.02502) on any schedule.

In y = z / alpha over u = sigma / alpha the ODE is dy = noise(z, t) du, whatever the schedule: a step of DDIM is a step of
Euler's method.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.schedule import Coefficients, NoiseSchedule

Predictor = Callable[[Float[Tensor, "B C h w"], Float[Tensor, "B"]], Float[Tensor, "B C h w"]]
"""The predicted noise at states z and times t."""


def ddim_step(
    z: Float[Tensor, "B C h w"],
    noise: Float[Tensor, "B C h w"],
    old: Coefficients,
    new: Coefficients,
    fresh: Float[Tensor, "B C h w"] | None = None,
) -> Float[Tensor, "B C h w"]:
    """The state at `new` (alpha, sigma) from that at `old`, forwards or backwards in time.

    With `fresh` noise, a step to less noise is the ancestral one (eta = 1): part of the old noise is replaced.

    >>> one = torch.ones(1, 1, 1, 1)
    >>> ddim_step(one, 0.5 * one, (0.8 * one, 0.6 * one), (one, 0 * one)).item()
    0.875
    """
    (alpha, sigma), (alpha2, sigma2) = old, new
    clean = (z - sigma * noise) / alpha
    if fresh is None:
        return alpha2 * clean + sigma2 * noise
    ratio = (sigma2 * alpha / (alpha2 * sigma)).clamp(max=1)
    return alpha2 * clean + sigma2 * (ratio * noise + (1 - ratio**2).clamp(min=0).sqrt() * fresh)


def invert(
    x: Float[Tensor, "B C h w"], times: Float[Tensor, "K B"], schedule: NoiseSchedule, predict: Predictor
) -> Float[Tensor, "B C h w"]:
    """The state at the last of `times`, reached from the clean x along the ODE; one prediction per time.

    It is of first order: twice as many steps halve the error.
    """
    # x has no noise, though the first timestep of a table has some
    z, coefficients = x, (torch.ones_like(x[:, :1, :1, :1]), torch.zeros_like(x[:, :1, :1, :1]))
    time = torch.zeros_like(times[0])
    for following in times:
        noise, new = predict(z, time), schedule.coefficients(following)
        z, coefficients, time = ddim_step(z, noise, coefficients, new), new, following
    return z


def solve(
    z: Float[Tensor, "B C h w"],
    times: Float[Tensor, "K B"],
    schedule: NoiseSchedule,
    predict: Predictor,
    fresh: Callable[[int], Float[Tensor, "B C h w"]] | None = None,
) -> Float[Tensor, "B C h w"]:
    """The clean sample that the state z at the first of `times` leads to; one prediction per time."""
    for index, time in enumerate(times):
        noise, old = predict(z, time), schedule.coefficients(time)
        if index == len(times) - 1:
            return (z - old[1] * noise) / old[0]
        z = ddim_step(z, noise, old, schedule.coefficients(times[index + 1]), fresh and fresh(index))
    raise ValueError("times: expected at least one")
