"""Ray marching for processors: every ray has room for all its steps, and then what was found closes up."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, compiled
from threefusion.ops.parallel import run

BLOCK, ROOM = 64, 2**21
"""Steps of a ray whose cells are found at once, and about how many there is room for: it is not to grow with the picture."""


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
    grid = (array(occupied).ravel(), np.int32(len(occupied)), scale)
    together = max(1, int(ROOM * step_length / (2 * radius)))
    parts = [_march(rays, slice(first, first + together), grid, length) for first in range(0, max(1, len(origins)), together)]
    return parts[0] if len(parts) == 1 else tuple(torch.cat(values) for values in zip(*parts, strict=True))


def _march(rays: Any, part: slice, grid: Any, length: np.floating) -> tuple[Float[Tensor, "M"], Int[Tensor, "M"]]:
    """The same for some of the rays."""
    rays = tuple(values[part] for values in rays)
    near, far = rays[2:4]
    # no more steps than these can have their middle before the far end
    steps = np.where(far > near, np.ceil((far - near) / length) + 1, 0).astype(np.int64)
    begins, counts = np.append(0, np.cumsum(steps)), np.empty_like(steps)
    rooms = np.empty(begins[-1], near.dtype)
    run(_look, rays, grid, length, begins, rooms, counts)
    ends = np.append(0, np.cumsum(counts))
    middle = torch.empty(ends[-1], dtype=torch.float32 if near.dtype == np.float32 else torch.float64)
    ray_index = torch.empty(ends[-1], dtype=torch.int64)
    run(_close_up, begins, rooms, ends, part.start, array(middle), array(ray_index))
    return middle, ray_index


@compiled
@no_type_check
def _look(part, parts, rays, grid, length, begins, rooms, counts):
    """Every step's middle is written, and written over by the next one unless it counts: no branch that could be mispredicted."""
    (origins, directions, nears, fars, shifts), (occupied, side, scale) = rays, grid
    total = len(counts)
    zero, last, half = np.int32(0), np.int32(side - 1), np.float32(side) / np.float32(2)
    middles, cells = np.empty(BLOCK, rooms.dtype), np.empty(BLOCK, np.int32)
    for ray in range(total * part // parts, total * (part + 1) // parts):
        near, far, shift = nears[ray], fars[ray], shifts[ray]
        ox, oy, oz = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        room, found = rooms[begins[ray] : begins[ray + 1]], 0
        for first in range(0, len(room), BLOCK):
            count = min(BLOCK, len(room) - first)
            # the same expressions as in torch, rounding included
            for j in range(count):
                middle = near + (np.float32(first + j) + shift - np.float32(0.5)) * length
                x = min(max(np.int32((ox + dx * middle) * scale + half), zero), last)
                y = min(max(np.int32((oy + dy * middle) * scale + half), zero), last)
                z = min(max(np.int32((oz + dz * middle) * scale + half), zero), last)
                middles[j], cells[j] = middle, (x * side + y) * side + z
            for j in range(count):
                room[found] = middles[j]
                found += occupied[cells[j]] & (middles[j] > near) & (middles[j] < far)
        counts[ray] = found


@compiled
@no_type_check
def _close_up(part, parts, begins, rooms, ends, first, middle, ray_index):
    """What was found, ray after ray without the empty room."""
    total = len(ends) - 1
    for ray in range(total * part // parts, total * (part + 1) // parts):
        begin, room = ends[ray], rooms[begins[ray] :]
        for j in range(ends[ray + 1] - begin):
            middle[begin + j], ray_index[begin + j] = room[j], first + ray
