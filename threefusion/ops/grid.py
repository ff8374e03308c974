"""Multiresolution grid encoding: trilinear interpolation in dense or hashed grids, twice differentiable.

All kernels are derivatives of one form, which is linear in the table, in the cotangent a and in the tangent v:

    B(x) = sum over corners k of w_k(x) (table[row_k] . a)        and its derivative along v,  sum of (grad w_k . v) (...)

`gather` is its derivative with respect to a, `scatter` to the table, `point_gradient` to x; each with an optional tangent. A
backend supplies these three, because the derivatives of each are expressed by the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32

PRIMES = (1, 2654435761, 805459861)
"""Primes of the spatial hash (instant-ngp, arXiv 2201.05989, eq. 4)."""

Points = Float[Tensor, "N 3"]
"""Positions in [-1, 1]^3, or tangents and gradients at them."""
Table = Float[Tensor, "T F"]
"""The rows of all levels."""
Encoded = Float[Tensor, "N C"]
"""`Grid.width` features per point, levels concatenated."""


@dataclass(frozen=True)
class Level:
    """One grid over the cube [-1, 1]^3.

    Point x has the cell coordinates (x + 1) scale / 2 + shift. The low corner of its cell is clamped to `last`, so points on the
    border belong to the last cell. Vertex (i, j, k) has row i + side j + side^2 k modulo `rows`, or, `hashed`,
    (i xor 2654435761 j xor 805459861 k) modulo `rows`, a power of two.
    """

    scale: float
    shift: float
    side: int
    last: int
    rows: int
    hashed: bool


@dataclass(frozen=True)
class Grid:
    """Several levels whose rows are concatenated in one table, with `features` numbers per row."""

    levels: tuple[Level, ...]
    features: int

    @property
    def width(self) -> int:
        """Width of the encoding of a point."""
        return len(self.levels) * self.features

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and the total number of rows as the last entry."""
        return (0, *np.cumsum([level.rows for level in self.levels]).tolist())

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.offsets[-1]


def hash_levels(levels: int, log2_rows: int, base_resolution: int, growth: float) -> tuple[Level, ...]:
    """Hash grid levels in the layout of tiny-cuda-nn, so that tables can be exchanged with it.

    Level l has scale base_resolution growth^l - 1 and ceil(scale) + 1 vertices a side, with points shifted by half a cell; levels
    that do not fit into 2^log2_rows rows are hashed (tiny-cuda-nn's `grid.h`; in float32 as there, so that resolutions round to
    the same integers).

    Args:
        levels: number of levels.
        log2_rows: base-2 logarithm of the largest number of rows of a level.
        base_resolution: resolution of the coarsest level.
        growth: ratio of the resolutions of consecutive levels.

    Example:
        >>> [(level.side, level.rows, level.hashed) for level in hash_levels(3, 12, 8, 2.0)]
        [(8, 512, False), (16, 4096, False), (32, 4096, True)]
    """
    result = []
    for level in range(levels):
        power = np.exp2(np.float32(level) * np.float32(log2(growth)))
        scale = np.float32(power * np.float32(base_resolution) - np.float32(1))
        side = int(np.ceil(scale)) + 1
        dense = -(-(side**3) // 8) * 8
        rows = min(dense, 2**log2_rows)
        result.append(Level(float(scale), 0.5, side, side - 1, rows, side**3 > rows))
    return tuple(result)


def dense_levels(resolutions: list[int]) -> tuple[Level, ...]:
    """Dense levels with the given numbers of cells a side, one row per vertex.

    Example:
        >>> [level.rows for level in dense_levels([1, 2])]
        [8, 27]
    """
    return tuple(Level(float(cells), 0.0, cells + 1, cells - 1, (cells + 1) ** 3, False) for cells in resolutions)


def encode(points: Points, table: Table, grid: Grid) -> Encoded:
    """Interpolated features at points in [-1, 1]^3, levels concatenated; differentiable twice in the points.

    Args:
        points: positions in [-1, 1]^3.
        table: the rows of all levels.
        grid: layout of the table.

    Returns:
        `grid.width` features per point.

    Example:
        >>> import torch
        >>> grid = Grid(dense_levels([1]), features=1)
        >>> corner_x = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1])[:, None]  # x of each vertex, x fastest
        >>> encode(torch.tensor([[-1.0, 0, 0], [0.5, 0, 0]]), corner_x, grid).tolist()
        [[0.0], [0.75]]
    """
    return _Gather.apply(points.to(table.dtype), table, None, grid)


def encode_vjp(points: Points, table: Table, cotangent: Encoded, grid: Grid) -> Points:
    """Vector-Jacobian product of `encode` with respect to the points: the gradient of sum(encode(points) * cotangent).

    Differentiable in all three tensors, so a loss on normals reaches the table without a second backward pass.

    Args:
        points: positions in [-1, 1]^3.
        table: the rows of all levels.
        cotangent: gradient with respect to the encoding.
        grid: layout of the table.

    Example:
        >>> import torch
        >>> grid = Grid(dense_levels([1]), features=1)
        >>> corner_x = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1])[:, None]
        >>> encode_vjp(torch.zeros(1, 3), corner_x, torch.ones(1, 1), grid).tolist()
        [[0.5, 0.0, 0.0]]
    """
    return _PointGradient.apply(points.to(table.dtype), table, cotangent.to(table.dtype), None, grid)


class _Gather(Function):
    """`[N C]` from points `[N 3]`, table `[T F]` and optional tangent `[N 3]`."""

    @staticmethod
    def forward(ctx, points, table, tangent, grid):
        ctx.save_for_backward(points, table, tangent)
        ctx.grid = grid
        return in_float32(kernels("grid", points.device).gather)(points, table, tangent, grid)

    @staticmethod
    def backward(ctx, cotangent):
        points, table, tangent = ctx.saved_tensors
        for_points = _PointGradient.apply(points, table, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[0] else None
        for_table = _Scatter.apply(points, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[1] else None
        for_tangent = _PointGradient.apply(points, table, cotangent, None, ctx.grid) if ctx.needs_input_grad[2] else None
        return for_points, for_table, for_tangent, None


class _Scatter(Function):
    """`[T F]` from points `[N 3]`, cotangent `[N C]` and optional tangent `[N 3]`."""

    @staticmethod
    def forward(ctx, points, cotangent, tangent, grid):
        ctx.save_for_backward(points, cotangent, tangent)
        ctx.grid = grid
        return in_float32(kernels("grid", points.device).scatter)(points, cotangent, tangent, grid)

    @staticmethod
    def backward(ctx, table):
        points, cotangent, tangent = ctx.saved_tensors
        for_points = _PointGradient.apply(points, table, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[0] else None
        for_cotangent = _Gather.apply(points, table, tangent, ctx.grid) if ctx.needs_input_grad[1] else None
        for_tangent = _PointGradient.apply(points, table, cotangent, None, ctx.grid) if ctx.needs_input_grad[2] else None
        return for_points, for_cotangent, for_tangent, None


class _PointGradient(Function):
    """`[N 3]` from points `[N 3]`, table `[T F]`, cotangent `[N C]` and optional tangent `[N 3]`."""

    @staticmethod
    def forward(ctx, points, table, cotangent, tangent, grid):
        ctx.save_for_backward(points, table, cotangent)
        ctx.grid, ctx.second_order = grid, tangent is not None
        return in_float32(kernels("grid", points.device).point_gradient)(points, table, cotangent, tangent, grid)

    @staticmethod
    def backward(ctx, tangent):
        if ctx.second_order:
            raise NotImplementedError("third derivatives of a grid encoding with respect to the points are not implemented")
        points, table, cotangent = ctx.saved_tensors
        tangent = tangent.contiguous()
        for_points = _PointGradient.apply(points, table, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[0] else None
        for_table = _Scatter.apply(points, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[1] else None
        for_cotangent = _Gather.apply(points, table, tangent, ctx.grid) if ctx.needs_input_grad[2] else None
        return for_points, for_table, for_cotangent, None, None
