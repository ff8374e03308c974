"""Marching rays through an occupancy grid (instant-ngp, arXiv 2201.05989, its occupancy grids)."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.backend import kernels


def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    near: Float[Tensor, "R"],
    far: Float[Tensor, "R"],
    shift: Float[Tensor, "R"],
    occupied: Bool[Tensor, "S S S"],
    radius: float,
    step_length: float,
) -> tuple[Float[Tensor, "M"], Int[Tensor, "M"]]:
    """Middles of the steps in occupied cells, and the rays that they are on; sorted by ray, then distance.

    Step s of a ray has its middle at near + (s + shift - 0.5) step_length. It counts where near < middle < far and the middle
    lies in an occupied cell of the cube [-radius, radius]^3, which is at least as wide as near and far are apart. No gradient.
    """
    return kernels("march", origins.device).march(origins, directions, near, far, shift, occupied, radius, step_length)
