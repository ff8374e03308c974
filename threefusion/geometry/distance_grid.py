"""Surfaces of signed distance fields: sampling on a grid, coarse to fine, and marching cubes at level 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate, max_pool3d

from threefusion.errors import UserError
from threefusion.geometry.isosurface import CHUNK, closed_surface
from threefusion.types import Mesh

COARSE = 3
"""Fine cells along one coarse cell."""
SLOPE = 1.25
"""Steepest slope of a field taken for a distance that is trusted: a coarse sample this many times as far from the surface as
its cells reach rules a surface out."""

Distance = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DistanceGrid:
    """Signed distance, negative inside, on a cubic lattice over [-radius, radius]^3, axes x, y, z.

    It is cut by the ball of `radius`: no sample on the border or outside the ball is negative.
    """

    distance: Float[Tensor, "N N N"]
    radius: float
    evaluations: int
    """Number of points that were evaluated."""

    @property
    def cell(self) -> float:
        """Distance of neighbouring samples, in scene units."""
        return 2 * self.radius / (len(self.distance) - 1)


@torch.no_grad()
def sample_distance(distance: Distance, radius: float, resolution: int, device: torch.device | str = "cpu") -> DistanceGrid:
    """The distance on `resolution`³ points, each inside the ball evaluated."""
    beyond = _beyond_ball(radius, resolution, device)
    inside = beyond < 0
    values = beyond.clone()
    values[inside] = _evaluate(distance, radius, inside)
    return DistanceGrid(torch.maximum(values, beyond), radius, int(inside.sum()))


@torch.no_grad()
def sample_distance_sparse(
    distance: Distance, radius: float, resolution: int, device: torch.device | str = "cpu"
) -> DistanceGrid:
    """The same surface as of `sample_distance`, evaluated only near it; coarse samples are interpolated elsewhere.

    A coarse cell can hold surface if the signs at its corners differ, or if one corner is no further from the surface than
    its middle, with `SLOPE` for fields that are no true distance. A part thinner than a coarse cell is missed only where the
    field is steeper than that.
    """
    coarse = sample_distance(distance, radius, resolution // COARSE + 1, device)
    known = coarse.distance[None, None]
    highest, lowest = max_pool3d(known, 2, 1), -max_pool3d(-known, 2, 1)
    nearest = -max_pool3d(-known.abs(), 2, 1)
    crossed = ((highest >= 0) & (lowest <= 0)) | (nearest <= SLOPE * coarse.cell * 3**0.5 / 2)
    cells = len(coarse.distance) - 1
    cell = (torch.arange(resolution, device=device) * cells // (resolution - 1)).clamp_max(cells - 1)
    near = crossed[0, 0][cell][:, cell][:, :, cell]
    # the corners of a fine cell can lie in neighbouring coarse cells
    near = max_pool3d(near.float()[None, None], 3, 1, 1)[0, 0] > 0
    beyond = _beyond_ball(radius, resolution, device)
    wanted = (beyond < 0) & near
    values = interpolate(known, size=(resolution,) * 3, mode="trilinear", align_corners=True)[0, 0]
    values[wanted] = _evaluate(distance, radius, wanted)
    values = torch.where(beyond < 0, torch.maximum(values, beyond), beyond)
    return DistanceGrid(values, radius, coarse.evaluations + int(wanted.sum()))


def _beyond_ball(radius: float, resolution: int, device: torch.device | str) -> Float[Tensor, "N N N"]:
    """Signed distance of the lattice points from the ball, positive on the whole border of the cube."""
    square = torch.linspace(-radius, radius, resolution, device=device).square()
    return (square[:, None, None] + square[None, :, None] + square[None, None, :]).sqrt() - radius


def _evaluate(distance: Distance, radius: float, where: Bool[Tensor, "N N N"]) -> Float[Tensor, "P"]:
    """Distance at the chosen lattice points, chunk by chunk; refuses a field that has diverged."""
    axis = torch.linspace(-radius, radius, len(where), device=where.device)
    values = torch.cat([distance(axis[cell])[:, 0].float() for cell in where.nonzero().split(CHUNK)])
    if not bool(values.isfinite().all()):
        raise UserError(
            "the scene's signed distance is not finite, so training has diverged: export an earlier checkpoint, or lower "
            "optimizer.lr"
        )
    return values


def distance_surface(grid: DistanceGrid) -> Mesh:
    """The closed surface where the distance is 0, outward winding, vertices in scene units; no face if nothing is inside."""
    return closed_surface(-grid.distance / grid.cell, grid.radius)
