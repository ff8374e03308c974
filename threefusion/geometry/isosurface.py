"""Isosurfaces of density fields: sampling on a grid, choice of the level by silhouettes, marching cubes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, max_pool3d

from threefusion.errors import UserError
from threefusion.types import Mesh, Rays

CHUNK = 1 << 18
"""Points evaluated at once: memory stays flat at any resolution."""
NUDGE = 1e-3
"""Least distance of a sample from the level, in the field's unit. Closer ones would make several vertices coincide."""

LEVELS = 256
"""Levels tried between the least and the highest density, evenly spaced in the logarithm."""
TOLERANCE = 0.004
"""Largest difference from the largest overlap of silhouettes that a higher level may have."""
RAISE = 1.5
"""Largest ratio of the level to the one with that overlap: far inside, a surface would show noise of the density."""

Density = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DensityGrid:
    """Log density on a cubic lattice over [-radius, radius]^3, axes x, y, z; the border and all outside the ball are empty."""

    log_density: Float[Tensor, "N N N"]
    radius: float
    evaluations: int
    """Number of points that were evaluated."""

    @property
    def cell(self) -> float:
        """Distance of neighbouring samples, in world units."""
        return 2 * self.radius / (len(self.log_density) - 1)


def least_level(radius: float) -> float:
    """The smallest density that can matter in a ball of `radius`.

    A ray is half opaque when the density integrates to ln 2 along it, and inside the ball it is no longer than the diameter:
    somewhere on it the density is at least ln 2 / (2 radius). A surface at this level therefore covers all that is seen.
    """
    return log(2) / (2 * radius)


@torch.no_grad()
def sample_density(density: Density, radius: float, resolution: int, device: torch.device | str = "cpu") -> DensityGrid:
    """The density inside the ball of `radius` on `resolution`³ points, each of them evaluated."""
    axis = torch.linspace(-radius, radius, resolution, device=device)
    inside = _inside_ball(axis, radius)
    floor = 0.01 * least_level(radius)
    values = torch.full(inside.shape, floor, device=device)
    values[inside] = _evaluate(density, axis, inside)
    return DensityGrid(_log(values, floor), radius, int(inside.sum()))


@torch.no_grad()
def refine_density(density: Density, coarse: DensityGrid, resolution: int, low: float, high: float) -> DensityGrid:
    """The density on `resolution`³ points, evaluated only where a surface at a level in [low, high] can pass.

    That is where the coarse samples round a point, two coarse cells away at most, reach both below `high` and above `low`;
    elsewhere the coarse values are interpolated. A part of the object that is thinner than a coarse cell and apart from
    everything else can be missed: `sample_density` misses nothing.
    """
    axis = torch.linspace(-coarse.radius, coarse.radius, resolution, device=coarse.log_density.device)
    known = coarse.log_density[None, None]
    highest = max_pool3d(known, 5, stride=1, padding=2)
    lowest = -max_pool3d(-known, 5, stride=1, padding=2)
    crossed = ((highest >= log(low)) & (lowest <= log(high))).float()
    inside = _inside_ball(axis, coarse.radius)
    wanted = inside & (interpolate(crossed, size=(resolution,) * 3, mode="nearest-exact")[0, 0] > 0)
    values = interpolate(known, size=(resolution,) * 3, mode="trilinear", align_corners=True)[0, 0]
    values[~inside] = coarse.log_density[0, 0, 0]
    values[wanted] = _log(_evaluate(density, axis, wanted), 0.01 * least_level(coarse.radius))
    return DensityGrid(values, coarse.radius, coarse.evaluations + int(wanted.sum()))


def _log(values: Tensor, floor: float) -> Tensor:
    """Logarithm of the density; refuses a field that has diverged."""
    if not bool(values.isfinite().all()):
        raise UserError(
            "the scene's density is not finite, so training has diverged: export an earlier checkpoint, or lower optimizer.lr"
        )
    return values.clamp_min(floor).log()


def _inside_ball(axis: Tensor, radius: float) -> Bool[Tensor, "N N N"]:
    """Lattice points in the open ball, without the border of the cube."""
    square = axis.square()
    inside = square[:, None, None] + square[None, :, None] + square[None, None, :] < radius**2
    for dimension in range(3):
        inside.select(dimension, 0).fill_(False)
        inside.select(dimension, -1).fill_(False)
    return inside


def _evaluate(density: Density, axis: Tensor, where: Bool[Tensor, "N N N"]) -> Float[Tensor, "P"]:
    """Density at the chosen lattice points, chunk by chunk."""
    cells = where.nonzero().split(CHUNK)
    return torch.cat([density(axis[cell])[:, 0].float() for cell in cells])


def marching_cubes(grid: DensityGrid, level: float) -> Mesh:
    """The closed surface where the density equals `level`, outward winding, vertices in world units.

    Interpolates the logarithm of the density, which is close to linear where a trained field fades out. No face if the density
    reaches the level nowhere.
    """
    return closed_surface(grid.log_density - log(level), grid.radius)


def closed_surface(field: Float[Tensor, "N N N"], radius: float) -> Mesh:
    """The surface between samples above 0, which are inside, and the others; on a lattice over [-radius, radius]^3.

    No face if no sample is above 0.
    """
    from skimage.measure import marching_cubes as march

    values = field.cpu().numpy()
    if not (values > 0).any():
        return Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    values = np.where(np.abs(values) < NUDGE, np.where(values > 0, NUDGE, -NUDGE), values).astype(np.float32)
    vertices, faces, _, _ = march(values, 0.0, gradient_direction="ascent")
    positions = torch.from_numpy(vertices.astype(np.float32)) * (2 * radius / (len(field) - 1)) - radius
    return Mesh(positions, torch.from_numpy(faces.astype(np.int64)))


def sample_grid(grid: DensityGrid, points: Float[Tensor, "*S 3"]) -> Float[Tensor, "*S"]:
    """Log density at world points, trilinear, on the grid's device."""
    volume = grid.log_density.permute(2, 1, 0)[None, None]
    positions = (points / grid.radius).reshape(1, -1, 1, 1, 3)
    return grid_sample(volume, positions, align_corners=True, padding_mode="border").view(points.shape[:-1])


@torch.no_grad()
def highest_density(grid: DensityGrid, rays: Rays) -> Float[Tensor, "R"]:
    """The highest log density that each ray meets.

    The silhouette of the surface at any level is the set of rays whose highest density exceeds it, so one walk along the rays
    answers for every level at once.
    """
    steps = 2 * len(grid.log_density)
    parts = []
    rows = max(1, CHUNK // steps)
    for origins, directions in zip(rays.origins.split(rows), rays.directions.split(rows), strict=True):
        nearest = -(origins * directions).sum(-1, keepdim=True)
        along = nearest + torch.linspace(-grid.radius, grid.radius, steps, device=origins.device)
        parts.append(sample_grid(grid, origins[:, None] + along[..., None] * directions[:, None]).amax(-1))
    return torch.cat(parts)


def best_level(highest: Float[Tensor, "R"], seen: Bool[Tensor, "R"], least: float) -> tuple[float, float]:
    """The density level for a mesh whose silhouette has to match what is `seen`, and their overlap (intersection over union).

    `highest` is the highest log density on each ray. LEVELS levels between `least` and the highest density are tried. Of
    several with the largest overlap the middle is taken, far from the noise on either side; from there the level is raised
    within TOLERANCE of that overlap, by RAISE at most: outlines are where rays are half absorbed, but colours come from
    deeper. (`least`, 0) if no ray exceeds `least`.
    """
    levels = torch.linspace(log(least), max(float(highest.max()), log(least)), LEVELS + 1, device=highest.device)[:-1]
    covered = len(highest) - torch.searchsorted(highest.sort().values, levels, right=True)
    hit = seen.sum() - torch.searchsorted(highest[seen].sort().values, levels, right=True)
    overlap = hit / (covered + seen.sum() - hit).clamp_min(1)
    best = (overlap >= overlap.max() - 1e-6).nonzero()[:, 0]
    middle = best[len(best) // 2]
    near = (overlap >= overlap[middle] - TOLERANCE) & (levels <= levels[middle] + log(RAISE))
    raised = near.nonzero()[-1, 0] if overlap[middle] > 0 else middle
    return float(levels[raised].exp()), float(overlap[raised])
