"""Ray marching for processors: steps are looked up twice, once to count them and once to write them."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, compiled, run


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
    """Middles of the steps in occupied cells, and the rays that they are on."""
    rays = tuple(array(value) for value in (origins, directions, near, far, shift))
    # numbers in the precision of the rays, lest the kernel compute in another one than torch
    scale, length = (rays[2].dtype.type(number) for number in (len(occupied) / (2 * radius), step_length))
    counts = np.empty(len(origins), np.int64)
    run(_count, rays, array(occupied), scale, length, counts)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    middle, ray_index = near.new_empty(total), torch.empty(total, dtype=torch.int64)
    run(_write, rays, array(occupied), scale, length, ends - counts, (array(middle), array(ray_index)))
    return middle, ray_index


@compiled
@no_type_check
def _middle(rays, ray, step, length):
    """Where step `step` of a ray has its middle; the same expression as in torch, rounding included."""
    return rays[2][ray] + (np.float32(step) + rays[4][ray] - np.float32(0.5)) * length


@compiled
@no_type_check
def _occupied(rays, ray, middle, occupied, scale):
    """Whether the cell at this distance is occupied."""
    side = len(occupied)
    half = np.float32(side) / np.float32(2)
    cell = 0
    for axis in range(3):
        along = np.int32((rays[0][ray, axis] + rays[1][ray, axis] * middle) * scale + half)
        cell = cell * side + min(max(along, 0), side - 1)
    return occupied.flat[cell]


@compiled
@no_type_check
def _count(part, parts, rays, occupied, scale, length, counts):
    total = len(counts)
    for ray in range(total * part // parts, total * (part + 1) // parts):
        near, far = rays[2][ray], rays[3][ray]
        found, step = 0, 0
        middle = _middle(rays, ray, 0, length)
        while middle < far:
            if middle > near and _occupied(rays, ray, middle, occupied, scale):
                found += 1
            step += 1
            middle = _middle(rays, ray, step, length)
        counts[ray] = found


@compiled
@no_type_check
def _write(part, parts, rays, occupied, scale, length, begins, found):
    total = len(begins)
    for ray in range(total * part // parts, total * (part + 1) // parts):
        near, far = rays[2][ray], rays[3][ray]
        at, step = begins[ray], 0
        middle = _middle(rays, ray, 0, length)
        while middle < far:
            if middle > near and _occupied(rays, ray, middle, occupied, scale):
                found[0][at], found[1][at] = middle, ray
                at += 1
            step += 1
            middle = _middle(rays, ray, step, length)
