"""Grid encoding in torch.

Uses one-dimensional gathers and scatters: on CPUs these are ten times faster than the backward passes of `embedding` and of
two-dimensional `index_add`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from threefusion.ops.grid import PRIMES, Encoded, Grid, Level, Points, Table

# up to this many features, one gather per feature is faster than embedding_bag, which needs a transposed index
_GATHER_FEATURES = 2
# as signed 32-bit numbers: only the low bits survive the mask
_PRIMES = [(prime + 2**31) % 2**32 - 2**31 for prime in PRIMES]


def gather(points: Points, table: Table, tangent: Points | None, grid: Grid) -> Encoded:
    """out[n, l] = sum over corners k of weight_k table[row_k]."""
    parts = []
    for level, rows in _levels(table, grid):
        index, fraction = corners(points, level)
        weight = _products(*_factors(fraction, level, tangent))
        if grid.features > _GATHER_FEATURES:
            parts.append(embedding_bag(index.t().contiguous(), rows, mode="sum", per_sample_weights=weight.t().contiguous()))
        else:
            flat = index.flatten()
            columns = rows.t().contiguous()
            sums = [column.index_select(0, flat).view_as(weight).mul_(weight).sum(0) for column in columns]
            parts.append(torch.stack(sums, -1))
    return torch.cat(parts, -1)


def scatter(points: Points, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Table:
    """out[row_k] = sum over points n of weight_k cotangent[n, l]."""
    parts = []
    for level, values in zip(grid.levels, cotangent.split(grid.features, -1), strict=True):
        index, fraction = corners(points, level)
        weight = _products(*_factors(fraction, level, tangent))
        flat = index.flatten().long()
        rows = values.new_zeros(grid.features, level.rows)
        for row, column in zip(rows, values.t().contiguous(), strict=True):
            row.scatter_add_(0, flat, (weight * column).flatten())
        parts.append(rows.t())
    return torch.cat(parts)


def point_gradient(points: Points, table: Table, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Points:
    """out[n] = sum over levels and corners k of grad weight_k (table[row_k] . cotangent[n, l])."""
    total = points.new_zeros(3, len(points))
    for (level, rows), values in zip(_levels(table, grid), cotangent.split(grid.features, -1), strict=True):
        index, fraction = corners(points, level)
        flat = index.flatten()
        value = points.new_zeros(index.shape)
        for row, column in zip(rows.t().contiguous(), values.t().contiguous(), strict=True):
            value.addcmul_(row.index_select(0, flat).view_as(value), column)
        for axis in range(3):
            total[axis] += (_products(*_factors(fraction, level, tangent, axis)) * value).sum(0)
    return total.t().contiguous()


def corners(points: Points, level: Level) -> tuple[Int[Tensor, "8 N"], Float[Tensor, "3 N"]]:
    """Rows of the eight corners of each point's cell (x slowest, z fastest), and the point's fractions within the cell."""
    position = (points.t().contiguous() + 1) * (level.scale / 2) + level.shift
    low = position.floor().clamp_(0, level.last).nan_to_num_(0)
    fraction = position - low
    low = low.int()
    pairs = torch.stack([low, low + 1], 1)
    if level.hashed:
        x, y, z = (pair * prime for pair, prime in zip(pairs, _PRIMES, strict=True))
        index = ((x[:, None] ^ y[None])[:, :, None] ^ z) & (level.rows - 1)
    else:
        x, y, z = (pair * stride for pair, stride in zip(pairs, (1, level.side, level.side**2), strict=True))
        index = (x[:, None] + y[None])[:, :, None] + z
        index = torch.where(index >= level.rows, index - level.rows, index)
    return index.reshape(8, -1), fraction


def _levels(table: Tensor, grid: Grid) -> Iterator[tuple[Level, Tensor]]:
    """Pairs of a level and its rows."""
    return zip(grid.levels, table.split([level.rows for level in grid.levels]), strict=True)


def _factors(fraction: Tensor, level: Level, tangent: Tensor | None, axis: int | None = None) -> list[tuple[Tensor, ...]]:
    """Factors per axis, `[2 N]` each, of the trilinear weights or of their derivatives; one tuple per term of a sum.

    The weight of a corner is the product of (1 - f, f) over the axes. A derivative replaces one factor by its slope: that of
    `axis`, if given, and in a sum over the axes that along the tangent.
    """
    plain = [torch.stack([1 - f, f]) for f in fraction]
    half = level.scale / 2
    slope = fraction.new_tensor([[-half], [half]]).expand(2, fraction.shape[1])

    def replaced(factors: list[Tensor], at: int, by: Tensor) -> list[Tensor]:
        return [*factors[:at], by, *factors[at + 1 :]]

    base = plain if axis is None else replaced(plain, axis, slope)
    if tangent is None:
        return [tuple(base)]
    # factors are linear, so the second derivative along `axis` is 0
    return [tuple(replaced(base, other, slope * tangent[:, other])) for other in range(3) if other != axis]


def _products(*terms: tuple[Tensor, ...]) -> Float[Tensor, "8 N"]:
    """Sum over the terms of the products of their factors, in the order of `corners`."""
    products = [((x[:, None] * y)[:, :, None] * z).reshape(8, -1) for x, y, z in terms]
    return products[0] if len(products) == 1 else torch.stack(products).sum(0)
