"""Gaussians that stand for the parts of a pixel's cone."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def cone_gaussian(
    direction: Float[Tensor, "N 3"], radius: Float[Tensor, "N 1"], t_start: Float[Tensor, "N"], t_end: Float[Tensor, "N"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
    """Mean distance along the ray and diagonal covariance of each conical frustum (mip-NeRF, arXiv 2103.13415, section 3.1).

    `radius` is the cone's radius at unit distance, `direction` of unit length.
    """
    middle, half = 0.5 * (t_start + t_end), 0.5 * (t_end - t_start)
    middle2, half2 = middle.square(), half.square()
    scale = 3 * middle2 + half2
    mean = middle + 2 * middle * half2 / scale
    along = half2 / 3 - (4 / 15) * half2.square() * (12 * middle2 - half2) / scale.square()
    across = radius[:, 0].square() * (middle2 / 4 + (5 / 12) * half2 - (4 / 15) * half2.square() / scale)
    square = direction.square()
    return mean, along[:, None] * square + across[:, None] * (1 - square)
