"""Ray marching on CUDA devices: one launch counts the samples of each ray, a second one writes them.

Between the two the host reads the total to allocate memory: the only synchronisation.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl

from threefusion.ops.march import Occupancy, RaySegments, Samples
from threefusion.ops.triton_kernels.launch import device_of

BLOCK = 64
"""Steps per block."""


def march(rays: RaySegments, occupied: Occupancy, radius: float, step_length: float) -> Samples:
    """Midpoints of the steps in occupied cells, and their ray indices; see `threefusion.ops.march`."""
    side, near = len(occupied), rays.near
    rays = [tensor.contiguous() for tensor in rays]
    grid = (occupied.contiguous().view(torch.uint8), side / (2 * radius), step_length)
    counts = torch.zeros(len(near), dtype=torch.int64, device=near.device)
    with device_of(near):
        # without fused multiply-adds both launches round like torch; else a step on a border might be counted but not written
        options = {"SIDE": side, "BLOCK": BLOCK, "num_warps": 1, "enable_fp_fusion": False}
        _march[(len(near),)](*rays, *grid, counts, None, None, **options)
        ends = counts.cumsum(0)
        total = int(ends[-1]) if len(near) else 0
        middle, ray_index = near.new_empty(total), counts.new_empty(total)
        _march[(len(near),)](*rays, *grid, ends - counts, middle, ray_index, **options)
    return middle, ray_index


@triton.jit
@no_type_check
def _march(
    origins,
    directions,
    near,
    far,
    shift,
    occupied,
    scale,
    step_length,
    offsets,
    middles,
    ray_index,
    SIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the samples of a ray into `offsets`, or, with `middles`, write them from its offset on."""
    ray = tl.program_id(0)
    begin, end = tl.load(near + ray), tl.load(far + ray)
    ray_shift = tl.load(shift + ray)
    steps = tl.where(end > begin, ((end - begin) / step_length).to(tl.int32) + 2, 0)
    offset = tl.load(offsets + ray)
    for first in range(0, steps, BLOCK):
        step = (first + tl.arange(0, BLOCK)).to(begin.dtype)
        middle = begin + (step + ray_shift - 0.5) * step_length
        cell = tl.zeros([BLOCK], tl.int32)
        for axis in tl.static_range(3):
            x = tl.load(origins + 3 * ray + axis) + tl.load(directions + 3 * ray + axis) * middle
            x = x * scale + SIDE / 2
            # clamped before the conversion, in an order that sends NaN to the first cell
            cell = cell * SIDE + tl.minimum(tl.where(x > 0, x, 0), SIDE - 1).to(tl.int32)
        kept = ((middle > begin) & (middle < end) & (tl.load(occupied + cell) != 0)).to(tl.int32)
        if middles is not None:
            target = offset + tl.cumsum(kept, 0) - kept
            tl.store(middles + target, middle, mask=kept != 0)
            tl.store(ray_index + target, ray.to(tl.int64), mask=kept != 0)
        offset += tl.sum(kept, 0)
    if middles is None:
        tl.store(offsets + ray, offset)
