"""Points on rays on CPUs, coordinate by coordinate in memory, as encodings read them."""

from __future__ import annotations

from typing import no_type_check

from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, compiled
from threefusion.ops.parallel import run


def ray_points(
    origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], distances: Float[Tensor, "N"], ray_index: Int[Tensor, "N"]
) -> Float[Tensor, "N 3"]:
    """origins + directions * distances of the ray of each point."""
    out = distances.new_empty(3, len(distances))
    run(_ray_points, *map(array, (origins, directions, distances, ray_index, out)), items=len(distances))
    return out.t()


@compiled
@no_type_check
def _ray_points(part, parts, origins, directions, distances, ray_index, out):
    total = len(distances)
    begin, end = total * part // parts, total * (part + 1) // parts
    for i in range(begin, end):
        ray, distance = ray_index[i], distances[i]
        for axis in range(3):
            out[axis, i] = origins[ray, axis] + directions[ray, axis] * distance
