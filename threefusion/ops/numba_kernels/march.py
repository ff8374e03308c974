"""Ray marching on CPUs: samples are written to per-ray buffers, then compacted."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch

from threefusion.ops.march import Occupancy, RaySegments, Samples
from threefusion.ops.numba_kernels.compile import array, compiled
from threefusion.ops.parallel import run

BLOCK, MAX_STEPS = 64, 2**21
"""Steps of a ray per inner loop, and about how many steps are buffered, so that memory does not grow with the image."""


def march(rays: RaySegments, occupied: Occupancy, radius: float, step_length: float) -> Samples:
    """Midpoints of the steps in occupied cells, and their ray indices; see `threefusion.ops.march`."""
    rays = tuple(map(array, rays))
    # scalars in the precision of the rays, so that the kernel computes in the precision of torch
    scale, length = (rays[2].dtype.type(number) for number in (len(occupied) / (2 * radius), step_length))
    grid = (array(occupied).ravel(), np.int32(len(occupied)), scale)
    chunk = max(1, int(MAX_STEPS * step_length / (2 * radius)))
    parts = [_march(rays, slice(first, first + chunk), grid, length) for first in range(0, max(1, len(rays[2])), chunk)]
    return parts[0] if len(parts) == 1 else tuple(torch.cat(values) for values in zip(*parts, strict=True))


def _march(rays: Any, part: slice, grid: Any, length: np.floating) -> Samples:
    """March some of the rays."""
    rays = tuple(values[part] for values in rays)
    near, far = rays[2:4]
    # upper bound on the steps with a midpoint before the far end
    steps = np.where(far > near, np.ceil((far - near) / length) + 1, 0).astype(np.int64)
    begins, counts = np.append(0, np.cumsum(steps)), np.empty_like(steps)
    buffer = np.empty(begins[-1], near.dtype)
    run(_sample, rays, grid, length, begins, buffer, counts)
    ends = np.append(0, np.cumsum(counts))
    middle = torch.empty(ends[-1], dtype=torch.float32 if near.dtype == np.float32 else torch.float64)
    ray_index = torch.empty(ends[-1], dtype=torch.int64)
    run(_compact, begins, buffer, ends, part.start, array(middle), array(ray_index), items=int(ends[-1]))
    return middle, ray_index


@compiled
@no_type_check
def _sample(part, parts, rays, grid, length, begins, buffer, counts):
    """Branchless: every midpoint is written, and overwritten by the next one unless it is kept."""
    (origins, directions, nears, fars, shifts), (occupied, side, scale) = rays, grid
    total = len(counts)
    zero, last, half = np.int32(0), np.int32(side - 1), np.float32(side) / np.float32(2)
    middles, cells = np.empty(BLOCK, buffer.dtype), np.empty(BLOCK, np.int32)
    for ray in range(total * part // parts, total * (part + 1) // parts):
        near, far, shift = nears[ray], fars[ray], shifts[ray]
        ox, oy, oz = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        out, kept = buffer[begins[ray] : begins[ray + 1]], 0
        for first in range(0, len(out), BLOCK):
            count = min(BLOCK, len(out) - first)
            # the same expressions as in torch, for identical rounding
            for j in range(count):
                middle = near + (np.float32(first + j) + shift - np.float32(0.5)) * length
                x = min(max(np.int32((ox + dx * middle) * scale + half), zero), last)
                y = min(max(np.int32((oy + dy * middle) * scale + half), zero), last)
                z = min(max(np.int32((oz + dz * middle) * scale + half), zero), last)
                middles[j], cells[j] = middle, (x * side + y) * side + z
            for j in range(count):
                out[kept] = middles[j]
                kept += occupied[cells[j]] & (middles[j] > near) & (middles[j] < far)
        counts[ray] = kept


@compiled
@no_type_check
def _compact(part, parts, begins, buffer, ends, first, middle, ray_index):
    """Copy the kept samples of all rays into one packed array."""
    total = len(ends) - 1
    for ray in range(total * part // parts, total * (part + 1) // parts):
        begin, kept = ends[ray], buffer[begins[ray] :]
        for j in range(ends[ray + 1] - begin):
            middle[begin + j], ray_index[begin + j] = kept[j], first + ray
