"""Trilinear interpolation in grids of several resolutions, hashed or not, differentiable to second order.

Everything is one form, linear in the table, in the cotangent a and in the tangent v:

    B(x) = sum over corners k of w_k(x) (table[row_k] . a)        and its derivative along v,  sum of (grad w_k . v) (...)

`gather` is its derivative in a, `scatter` in the table, `pull` in x; each without or with a tangent. They are all that a
backend supplies, because the derivatives of each are made of the others.
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

PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash (instant-ngp, arXiv 2201.05989, eq. 4)."""


@dataclass(frozen=True)
class Level:
    """One grid over the cube [-1, 1]^3.

    A point x lies at (x + 1) scale / 2 + shift, measured in cells. The cell's low corner is at most `last`, so that points on
    the border belong to the last cell. Vertex (i, j, k) has row i + side j + side^2 k modulo `rows`, or, `hashed`,
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
    """Several grids whose rows follow each other in one table, `features` numbers a row."""

    levels: tuple[Level, ...]
    features: int

    @property
    def width(self) -> int:
        """Numbers per point."""
        return len(self.levels) * self.features

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and after the last one the number of rows."""
        return (0, *np.cumsum([level.rows for level in self.levels]).tolist())

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.offsets[-1]


def hash_levels(levels: int, log2_rows: int, base_resolution: int, growth: float) -> tuple[Level, ...]:
    """Grids as tiny-cuda-nn lays them out, so that its tables can be exchanged with ours.

    Its grid l has scale base growth^l - 1 and ceil(scale) + 1 vertices a side, points are moved by half a cell, and what does
    not fit into 2^log2_rows rows is hashed (its `grid.h`; float32 as there, lest a resolution be rounded to another integer).
    """
    found = []
    for level in range(levels):
        power = np.exp2(np.float32(level) * np.float32(log2(growth)))
        scale = np.float32(power * np.float32(base_resolution) - np.float32(1))
        side = int(np.ceil(scale)) + 1
        dense = -(-(side**3) // 8) * 8
        rows = min(dense, 2**log2_rows)
        found.append(Level(float(scale), 0.5, side, side - 1, rows, side**3 > rows))
    return tuple(found)


def dense_levels(resolutions: list[int]) -> tuple[Level, ...]:
    """Grids with so many cells a side and a row of its own for every vertex."""
    return tuple(Level(float(cells), 0.0, cells + 1, cells - 1, (cells + 1) ** 3, False) for cells in resolutions)


def encode(points: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: Grid) -> Float[Tensor, "N C"]:
    """Interpolated rows at points in [-1, 1]^3, level after level; differentiable twice in the points, always in the table."""
    return _Gather.apply(points.to(table.dtype), table, None, grid)


def pull_back(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], cotangent: Float[Tensor, "N C"], grid: Grid
) -> Float[Tensor, "N 3"]:
    """The gradient in the points of sum(encode(points) * cotangent): what `encode`'s own backward pass computes."""
    return _Pull.apply(points.to(table.dtype), table, cotangent.to(table.dtype), None, grid)


class _Gather(Function):
    """`[N C]` from points `[N 3]`, table `[T F]` and perhaps a tangent `[N 3]`."""

    @staticmethod
    def forward(ctx, points, table, tangent, grid):
        ctx.save_for_backward(points, table, tangent)
        ctx.grid = grid
        return kernels("grid", points.device).gather(points, table, tangent, grid)

    @staticmethod
    def backward(ctx, cotangent):
        points, table, tangent = ctx.saved_tensors
        for_points = _Pull.apply(points, table, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[0] else None
        for_table = _Scatter.apply(points, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[1] else None
        for_tangent = _Pull.apply(points, table, cotangent, None, ctx.grid) if ctx.needs_input_grad[2] else None
        return for_points, for_table, for_tangent, None


class _Scatter(Function):
    """`[T F]` from points `[N 3]`, cotangent `[N C]` and perhaps a tangent `[N 3]`."""

    @staticmethod
    def forward(ctx, points, cotangent, tangent, grid):
        ctx.save_for_backward(points, cotangent, tangent)
        ctx.grid = grid
        return kernels("grid", points.device).scatter(points, cotangent, tangent, grid)

    @staticmethod
    def backward(ctx, table):
        points, cotangent, tangent = ctx.saved_tensors
        for_points = _Pull.apply(points, table, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[0] else None
        for_cotangent = _Gather.apply(points, table, tangent, ctx.grid) if ctx.needs_input_grad[1] else None
        for_tangent = _Pull.apply(points, table, cotangent, None, ctx.grid) if ctx.needs_input_grad[2] else None
        return for_points, for_cotangent, for_tangent, None


class _Pull(Function):
    """`[N 3]` from points `[N 3]`, table `[T F]`, cotangent `[N C]` and perhaps a tangent `[N 3]`."""

    @staticmethod
    def forward(ctx, points, table, cotangent, tangent, grid):
        ctx.save_for_backward(points, table, cotangent)
        ctx.grid, ctx.again = grid, tangent is not None
        return kernels("grid", points.device).pull(points, table, cotangent, tangent, grid)

    @staticmethod
    def backward(ctx, tangent):
        if ctx.again:
            raise NotImplementedError("a grid encoding has no third derivatives in the points")
        points, table, cotangent = ctx.saved_tensors
        tangent = tangent.contiguous()
        for_points = _Pull.apply(points, table, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[0] else None
        for_table = _Scatter.apply(points, cotangent, tangent, ctx.grid) if ctx.needs_input_grad[1] else None
        for_cotangent = _Gather.apply(points, table, tangent, ctx.grid) if ctx.needs_input_grad[2] else None
        return for_points, for_table, for_cotangent, None, None
