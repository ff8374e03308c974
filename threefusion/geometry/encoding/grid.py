"""The base class of hash grid and dense grid: interpolation in a table of trained rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.encoding.encoding import Encoding, Pullback
from threefusion.ops.grid import Grid, encode, encode_vjp

_INITIAL = 1e-4


class GridEncoding(Encoding):
    """Trilinear interpolation in several grids whose rows are the parameter `table`, coarsest grid first."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.width = grid.width
        self.table = nn.Parameter(torch.empty(grid.rows, grid.features).uniform_(-_INITIAL, _INITIAL))

    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """Interpolated features of points in [-1, 1]^3, differentiable twice in the points; the covariance is not read."""
        return self._level_scale(encode(points, self.table, self.grid))

    def with_pullback(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> tuple[Float[Tensor, "N {self.width}"], Pullback]:
        """Features and their pullback in closed form: no graph through the points is kept."""
        points = points.detach()
        return self(points), lambda cotangent: encode_vjp(points, self.table, self._level_scale(cotangent), self.grid)

    def cell(self) -> float | Float[Tensor, ""]:
        """Side of a cell of the finest grid that counts, in [-1, 1]^3."""
        return 2 / self.grid.levels[-1].scale

    def coarse_rows(self, cells: int) -> int:
        """Rows of the table that belong to grids with at most so many cells per side, or to the coarsest one."""
        return self.grid.offsets[max(1, sum(level.scale <= cells for level in self.grid.levels))]

    def _level_scale(self, features: Tensor) -> Tensor:
        """Features, or their cotangent, times what each level counts for."""
        return features
