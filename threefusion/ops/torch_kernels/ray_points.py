"""Points on rays in torch."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def ray_points(
    origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], distances: Float[Tensor, "N"], ray_index: Int[Tensor, "N"]
) -> Float[Tensor, "N 3"]:
    """origins + directions * distances of the ray of each point."""
    # index_select: several times as fast as an index in brackets
    return origins.index_select(0, ray_index) + directions.index_select(0, ray_index) * distances[:, None]
