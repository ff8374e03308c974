"""Trilinear interpolation in grids of several resolutions: what the hash grid and the dense grid share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.geometry.encoding.encoding import Encoding, Pullback
from threefusion.geometry.encoding.interpolation import interpolate, project

# instant-ngp's primes (arXiv 2201.05989, eq. 4) as signed 32-bit numbers: only the low bits survive the mask
_PRIMES = (1, -1640531535, 805459861)
_INITIAL = 1e-4


@dataclass(frozen=True)
class Level:
    """One grid: `resolution` cells a side, and `entries` rows, fewer than it has vertices when these are hashed."""

    resolution: int
    entries: int

    @property
    def hashed(self) -> bool:
        """Whether vertices share rows."""
        return self.entries < (self.resolution + 1) ** 3


def corners(points: Float[Tensor, "N 3"], level: Level) -> tuple[Int[Tensor, "8 N"], Float[Tensor, "3 N"]]:
    """Table rows of the eight corners of each point's cell (x slowest, z fastest), and where in the cell the point lies.

    Points in [-1, 1]^3; the place in the cell lies in [0, 1] and is differentiable in the points.
    """
    place = (points.t().contiguous() + 1) * (level.resolution / 2)
    cell = place.detach().floor().clamp_(0, level.resolution - 1)
    fraction = place - cell
    low = cell.int()
    if level.hashed:
        axes = [torch.stack([low[axis] * prime, (low[axis] + 1) * prime]) for axis, prime in enumerate(_PRIMES)]
        x, y, z = axes
        mixed = (x[:, None] ^ y[None])[:, :, None] ^ z
        index = mixed & (level.entries - 1)
    else:
        side = level.resolution + 1
        step = torch.arange(2, device=points.device, dtype=torch.int32)
        offset = (step[:, None, None] * side + step[:, None]) * side + step
        index = (low[0] * side + low[1]) * side + low[2] + offset[..., None]
    return index.reshape(8, -1), fraction


def corner_weights(fraction: Float[Tensor, "3 N"]) -> Float[Tensor, "8 N"]:
    """Trilinear weights of a cell's corners, in the order of `corners`."""
    x, y, z = torch.stack([1 - fraction, fraction], 1).unbind(0)
    return ((x[:, None] * y)[:, :, None] * z).reshape(8, -1)


def corner_slopes(value: Float[Tensor, "8 N"], fraction: Float[Tensor, "3 N"]) -> Float[Tensor, "3 N"]:
    """Derivative in `fraction` of the trilinear interpolation of one number per corner."""
    x, y, z = fraction
    low, high = value.view(2, 2, 2, -1).unbind(2)
    (low_y, high_y), (low_slope, high_slope) = torch.lerp(low, high, z).unbind(1), (high - low).unbind(1)
    (low_x, high_x), (low_along_y, high_along_y) = torch.lerp(low_y, high_y, y), high_y - low_y
    low_along_z, high_along_z = torch.lerp(low_slope, high_slope, y)
    along_y, along_z = torch.lerp(low_along_y, high_along_y, x), torch.lerp(low_along_z, high_along_z, x)
    return torch.stack([high_x - low_x, along_y, along_z])


class GridEncoding(Encoding):
    """Features of several grids side by side, each interpolated between the eight corners of a cell."""

    def __init__(self, levels: list[Level], features: int) -> None:
        super().__init__()
        self.levels = levels
        self.features = features
        self.width = len(levels) * features
        tables = [torch.empty(level.entries, features).uniform_(-_INITIAL, _INITIAL) for level in levels]
        self.tables = nn.ParameterList(nn.Parameter(table) for table in tables)

    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """Interpolated features of points in [-1, 1]^3, differentiable to any order; the covariance is not read."""
        return self._gather([corners(points, level) for level in self.levels])

    def with_pullback(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> tuple[Float[Tensor, "N {self.width}"], Pullback]:
        """Features and their pullback in closed form: the corners are found once, and no graph through the points is kept."""
        found = [corners(points.detach(), level) for level in self.levels]

        def pullback(cotangent: Tensor) -> Tensor:
            slopes = [
                corner_slopes(project(table, index, part), fraction) * (level.resolution / 2)
                for table, level, (index, fraction), part in zip(
                    self.tables, self.levels, found, self._level_scale(cotangent).split(self.features, -1), strict=True
                )
            ]
            return torch.stack(slopes).sum(0).t()

        return self._gather(found), pullback

    def _gather(self, found: list[tuple[Tensor, Tensor]]) -> Tensor:
        parts = [
            interpolate(table, index, corner_weights(fraction))
            for table, (index, fraction) in zip(self.tables, found, strict=True)
        ]
        return self._level_scale(torch.cat(parts, -1))

    def _level_scale(self, features: Tensor) -> Tensor:
        """Features, or their cotangent, times what each level counts for."""
        return features
