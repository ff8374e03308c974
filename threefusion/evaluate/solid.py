"""Voxelisation of closed meshes, for volume IoU."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.types import Mesh

NUDGE = (1.7e-4, 2.9e-4)
"""Offset of lattice lines in cells, to avoid vertices and edges that lie on a lattice themselves."""


def _tilt() -> Float[Tensor, "3 3"]:
    """A rotation in general position: that of a quaternion of distinct primes."""
    w, x, y, z = normalize(torch.tensor([7.0, 2.0, 3.0, 5.0]), dim=0).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def lattice(half: float, resolution: int) -> Float[Tensor, "N 3"]:
    """Cell centres of a rotated cube that contains the ball of radius `half` around the origin, last axis fastest.

    It is rotated because axis-aligned faces of objects would coincide with whole planes of centres.
    """
    middle = (torch.arange(resolution) + 0.5) * (2 * half / resolution) - half
    return torch.stack(torch.meshgrid(middle, middle, middle, indexing="ij"), -1).view(-1, 3) @ _tilt().T


def inside(mesh: Mesh, half: float, resolution: int) -> Bool[Tensor, "n n n"]:
    """Whether each point of `lattice` lies inside the mesh.

    A point is inside if its winding number, computed from the crossings along a lattice line, is not 0: overlapping parts count
    once and cavities do not count. The majority over the three axes decides, so holes in the surface do not corrupt whole lines.
    """
    local = mesh.vertices.double() @ _tilt().double()
    corners = (local[mesh.faces] + half) * (resolution / (2 * half)) - 0.5
    votes = torch.zeros(resolution, resolution, resolution, dtype=torch.int64)
    for axis in range(3):
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        winding = _winding(corners[..., order], resolution)
        votes += (winding != 0).movedim((0, 1, 2), order).long()
    return votes >= 2


def _winding(corners: Float[Tensor, "F 3 3"], resolution: int) -> Int[Tensor, "n n n"]:
    """Winding numbers [u v w] of lattice points, from crossings along the last axis."""
    flat = corners[..., :2] - corners.new_tensor(NUDGE)
    low = flat.amin(1).ceil().clamp_min(0).long()
    high = flat.amax(1).floor().clamp_max(resolution - 1).long()
    extent = (high - low + 1).clamp_min(0)
    count = extent.prod(-1)
    owner = torch.repeat_interleave(torch.arange(len(count)), count)
    rank = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
    line = torch.stack([low[owner, 0] + rank % extent[owner, 0], low[owner, 1] + rank // extent[owner, 0]], -1)
    a, b, c = flat[owner].unbind(1)
    area = _cross(b - a, c - a)
    raw = torch.stack([_cross(c - b, line - b), _cross(a - c, line - c), _cross(b - a, line - a)], -1)
    weights = raw / torch.where(area == 0, 1.0, area)[:, None]
    hit = (weights >= 0).all(-1) & (area != 0)
    height = (weights * corners[owner][..., 2]).sum(-1)[hit]
    first = height.ceil().clamp(0, resolution).long()
    # a line along the last axis enters through faces that point down
    step = torch.where(area[hit] < 0, 1, -1)
    change = torch.zeros(resolution, resolution, resolution + 1, dtype=torch.int64)
    change.index_put_((line[hit, 0], line[hit, 1], first), step, accumulate=True)
    return change.cumsum(-1)[..., :resolution]


def _cross(a: Float[Tensor, "N 2"], b: Float[Tensor, "N 2"]) -> Float[Tensor, "N"]:
    """2-D cross product."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def volume_iou(first: Bool[Tensor, "n n n"], second: Bool[Tensor, "n n n"]) -> float:
    """Intersection over union of two solids; 0 if both are empty."""
    return int((first & second).sum()) / max(int((first | second).sum()), 1)
