"""Ray marching in torch: evaluates every step of every ray that hits the scene."""

from __future__ import annotations

import torch

from threefusion.ops.march import Occupancy, RaySegments, Samples


def march(rays: RaySegments, occupied: Occupancy, radius: float, step_length: float) -> Samples:
    """Midpoints of the steps in occupied cells, and their ray indices; see `threefusion.ops.march`."""
    origins, directions, near, far, shift = rays
    hit = (far > near).nonzero()[:, 0]
    steps = torch.arange(int(2 * radius / step_length) + 2, device=near.device)
    near, far, shift = near[hit, None], far[hit, None], shift[hit, None]
    middle = near + (steps + shift - 0.5) * step_length
    side = len(occupied)
    scale = side / (2 * radius)
    x, y, z = (
        ((origins[hit, axis, None] + directions[hit, axis, None] * middle) * scale + side / 2).int().clamp_(0, side - 1)
        for axis in range(3)
    )
    full = occupied.flatten()[(x * side + y) * side + z] & (middle > near) & (middle < far)
    kept = full.flatten().nonzero()[:, 0]
    return middle.flatten()[kept], hit[kept // len(steps)]
