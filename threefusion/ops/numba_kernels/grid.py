"""Grid encoding on CPUs.

Levels are processed one after the other, because the rows of one level fit into the L2 cache. Encodings are stored feature-major,
so that each level writes contiguously. Corner rows and weights are computed per block of points in loops that vectorise. In
`scatter` each level belongs to one thread, so sums do not depend on the number of threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from torch import Tensor

from threefusion.ops.grid import PRIMES, Encoded, Grid, Points, Table
from threefusion.ops.numba_kernels.compile import array, compiled, contracted
from threefusion.ops.parallel import run

BLOCK = 256
"""Points per block."""
_PRIME_Y, _PRIME_Z = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])


class Layout(NamedTuple):
    """The grid as arrays with one entry per level."""

    half: np.ndarray
    shift: np.ndarray
    last: np.ndarray
    side: np.ndarray
    rows: np.ndarray
    offset: np.ndarray
    hashed: np.ndarray
    row: tuple[int, ...]
    """A tuple of `features` entries: its length is a compile-time constant, so that loops over features are unrolled."""


@lru_cache(maxsize=32)
def layout(grid: Grid, dtype: torch.dtype) -> Layout:
    """Layout of the grid for points of type `dtype`."""
    real = torch.empty(0, dtype=dtype).numpy().dtype
    levels = grid.levels
    return Layout(
        np.array([level.scale / 2 for level in levels], real),
        np.array([level.shift for level in levels], real),
        np.array([level.last for level in levels], real),
        np.array([level.side for level in levels], np.int32),
        np.array([level.rows for level in levels], np.int32),
        np.array(grid.offsets[:-1], np.int64),
        np.array([level.hashed for level in levels]),
        (0,) * grid.features,
    )


def gather(points: Points, table: Table, tangent: Points | None, grid: Grid) -> Encoded:
    """out[n, l] = sum over corners k of weight_k table[row_k]."""
    out = table.new_empty(grid.width, len(points))
    lay = layout(grid, table.dtype)
    run(_gather, array(points.t()), array(table), _optional(tangent), lay, array(out))
    return out.t()


def scatter(points: Points, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Table:
    """out[row_k] = sum over points n of weight_k cotangent[n, l]."""
    out = cotangent.new_empty(grid.rows, grid.features)
    lay = layout(grid, cotangent.dtype)
    run(_scatter, array(points.t()), array(cotangent.t()), _optional(tangent), lay, array(out))
    return out


def point_gradient(points: Points, table: Table, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Points:
    """out[n] = sum over levels and corners k of grad weight_k (table[row_k] . cotangent[n, l])."""
    out = points.new_zeros(3, len(points))
    lay = layout(grid, table.dtype)
    run(_point_gradient, array(points.t()), array(table), array(cotangent.t()), _optional(tangent), lay, array(out))
    return out.t().contiguous()


def _optional(tangent: Tensor | None) -> np.ndarray | None:
    return None if tangent is None else array(tangent.t())


@compiled
@no_type_check
def _cell(x, half, shift, last):
    """Low corner of the cell along one axis and the fraction within it; same expression as in torch, for identical rounding."""
    position = (x + np.float32(1)) * half + shift
    # this order sends NaN to the first cell; converting a non-negative number rounds it down
    low = position if position > 0 else np.float32(0)
    low = np.int32(low if low < last else last)
    return low, position - np.float32(low)


@compiled
@no_type_check
def _corners(points, block, level, lay, rows, fractions):
    """Rows of the eight corners (x slowest, z fastest) of the cells of a block of points, and the fractions within the cells."""
    xs, ys, zs = points[0][block], points[1][block], points[2][block]
    half, shift, last, total = lay.half[level], lay.shift[level], lay.last[level], lay.rows[level]
    along_y = lay.side[level]
    along_z = np.int32(along_y * along_y)
    if lay.hashed[level]:
        mask = np.uint32(total - 1)
        for j in range(len(xs)):
            x, fractions[0, j] = _cell(xs[j], half, shift, last)
            y, fractions[1, j] = _cell(ys[j], half, shift, last)
            z, fractions[2, j] = _cell(zs[j], half, shift, last)
            x0, y0, z0 = np.uint32(x), np.uint32(np.uint32(y) * _PRIME_Y), np.uint32(np.uint32(z) * _PRIME_Z)
            x1, y1, z1 = np.uint32(x0 + np.uint32(1)), np.uint32(y0 + _PRIME_Y), np.uint32(z0 + _PRIME_Z)
            rows[0, j] = (x0 ^ y0 ^ z0) & mask
            rows[1, j] = (x0 ^ y0 ^ z1) & mask
            rows[2, j] = (x0 ^ y1 ^ z0) & mask
            rows[3, j] = (x0 ^ y1 ^ z1) & mask
            rows[4, j] = (x1 ^ y0 ^ z0) & mask
            rows[5, j] = (x1 ^ y0 ^ z1) & mask
            rows[6, j] = (x1 ^ y1 ^ z0) & mask
            rows[7, j] = (x1 ^ y1 ^ z1) & mask
    else:
        for j in range(len(xs)):
            x, fractions[0, j] = _cell(xs[j], half, shift, last)
            y, fractions[1, j] = _cell(ys[j], half, shift, last)
            z, fractions[2, j] = _cell(zs[j], half, shift, last)
            for k in range(8):
                row = np.int32(x + (k >> 2) + (y + ((k >> 1) & 1)) * along_y + (z + (k & 1)) * along_z)
                rows[k, j] = row - total if row >= total else row


@compiled
@no_type_check
def _weights(fractions, count, tangent, half, weights):
    """Trilinear weights of the corners, or their directional derivatives."""
    one = np.float32(1)
    if tangent is None:
        for j in range(count):
            fx, fy, fz = fractions[0, j], fractions[1, j], fractions[2, j]
            gx, gy, gz = one - fx, one - fy, one - fz
            w00, w01, w10, w11 = gx * gy, gx * fy, fx * gy, fx * fy
            weights[0, j], weights[1, j], weights[2, j], weights[3, j] = w00 * gz, w00 * fz, w01 * gz, w01 * fz
            weights[4, j], weights[5, j], weights[6, j], weights[7, j] = w10 * gz, w10 * fz, w11 * gz, w11 * fz
    else:
        along_x, along_y, along_z = tangent[0], tangent[1], tangent[2]
        for j in range(count):
            fx, fy, fz = fractions[0, j], fractions[1, j], fractions[2, j]
            gx, gy, gz = one - fx, one - fy, one - fz
            vx, vy, vz = half * along_x[j], half * along_y[j], half * along_z[j]
            w00, w01, w10, w11 = gx * gy, gx * fy, fx * gy, fx * fy
            d00, d01 = -vx * gy - vy * gx, vy * gx - vx * fy
            d10, d11 = vx * gy - vy * fx, vx * fy + vy * fx
            weights[0, j], weights[1, j] = d00 * gz - vz * w00, d00 * fz + vz * w00
            weights[2, j], weights[3, j] = d01 * gz - vz * w01, d01 * fz + vz * w01
            weights[4, j], weights[5, j] = d10 * gz - vz * w10, d10 * fz + vz * w10
            weights[6, j], weights[7, j] = d11 * gz - vz * w11, d11 * fz + vz * w11


@contracted
@no_type_check
def _gather(part, parts, points, table, tangent, lay, out):
    """Points are split between threads."""
    features, total = len(lay.row), out.shape[1]
    rows, weights = np.empty((8, BLOCK), np.uint32), np.empty((8, BLOCK), table.dtype)
    fractions = np.empty((3, BLOCK), table.dtype)
    begin, end = total * part // parts, total * (part + 1) // parts
    for level in range(len(lay.half)):
        grid = table[lay.offset[level] : lay.offset[level] + lay.rows[level]]
        for first in range(begin, end, BLOCK):
            # slices: a possibly negative index would keep the compiler from vectorising
            block = slice(first, min(first + BLOCK, end))
            count = block.stop - block.start
            _corners(points, block, level, lay, rows, fractions)
            _weights(fractions, count, None if tangent is None else tangent[:, block], lay.half[level], weights)
            for f in range(0, features - 1, 2):
                even, odd = out[level * features + f, block], out[level * features + f + 1, block]
                for j in range(count):
                    a = b = np.float32(0)
                    for k in range(8):
                        row, weight = rows[k, j], weights[k, j]
                        a += weight * grid[row, f]
                        b += weight * grid[row, f + 1]
                    even[j], odd[j] = a, b
            if features % 2:
                last = out[level * features + features - 1, block]
                for j in range(count):
                    a = np.float32(0)
                    for k in range(8):
                        a += weights[k, j] * grid[rows[k, j], features - 1]
                    last[j] = a


@contracted
@no_type_check
def _scatter(part, parts, points, cotangent, tangent, lay, out):
    """Levels are split between threads."""
    features, total = len(lay.row), cotangent.shape[1]
    rows, weights = np.empty((8, BLOCK), np.uint32), np.empty((8, BLOCK), out.dtype)
    fractions = np.empty((3, BLOCK), out.dtype)
    for level in range(part, len(lay.half), parts):
        grid = out[lay.offset[level] : lay.offset[level] + lay.rows[level]]
        grid[:] = 0
        for first in range(0, total, BLOCK):
            block = slice(first, min(first + BLOCK, total))
            count = block.stop - block.start
            _corners(points, block, level, lay, rows, fractions)
            _weights(fractions, count, None if tangent is None else tangent[:, block], lay.half[level], weights)
            for f in range(0, features - 1, 2):
                even, odd = cotangent[level * features + f, block], cotangent[level * features + f + 1, block]
                for j in range(count):
                    a, b = even[j], odd[j]
                    for k in range(8):
                        row, weight = rows[k, j], weights[k, j]
                        grid[row, f] += weight * a
                        grid[row, f + 1] += weight * b
            if features % 2:
                last = cotangent[level * features + features - 1, block]
                for j in range(count):
                    for k in range(8):
                        grid[rows[k, j], features - 1] += weights[k, j] * last[j]


@contracted
@no_type_check
def _point_gradient(part, parts, points, table, cotangent, tangent, lay, out):
    """Points are split between threads."""
    features, total = len(lay.row), out.shape[1]
    rows, values = np.empty((8, BLOCK), np.uint32), np.empty((8, BLOCK), table.dtype)
    fractions = np.empty((3, BLOCK), table.dtype)
    begin, end = total * part // parts, total * (part + 1) // parts
    for level in range(len(lay.half)):
        grid = table[lay.offset[level] : lay.offset[level] + lay.rows[level]]
        for first in range(begin, end, BLOCK):
            block = slice(first, min(first + BLOCK, end))
            block_cotangent = cotangent[level * features : (level + 1) * features, block]
            _corners(points, block, level, lay, rows, fractions)
            for j in range(block.stop - block.start):
                for k in range(8):
                    row, value = rows[k, j], np.float32(0)
                    for f in range(features):
                        value += grid[row, f] * block_cotangent[f, j]
                    values[k, j] = value
            block_tangent = None if tangent is None else tangent[:, block]
            _interpolation_gradient(fractions, block_tangent, lay.half[level], values, out[:, block])


@compiled
@no_type_check
def _interpolation_gradient(fractions, tangent, half, values, out):
    """Add the gradient of trilinear interpolation of the corner values, or of its directional derivative."""
    out_x, out_y, out_z = out[0], out[1], out[2]
    for j in range(len(out_x)):
        # interpolate along x first; what remains is bilinear in y and z
        fx, fy, fz = fractions[0, j], fractions[1, j], fractions[2, j]
        x00, x01 = values[4, j] - values[0, j], values[5, j] - values[1, j]
        x10, x11 = values[6, j] - values[2, j], values[7, j] - values[3, j]
        v00, v01 = values[0, j] + fx * x00, values[1, j] + fx * x01
        v10, v11 = values[2, j] + fx * x10, values[3, j] + fx * x11
        low, high = x00 + fz * (x01 - x00), x10 + fz * (x11 - x10)
        if tangent is None:
            out_x[j] += half * (low + fy * (high - low))
            out_y[j] += half * (v10 + fz * (v11 - v10) - v00 - fz * (v01 - v00))
            out_z[j] += half * (v01 - v00 + fy * (v11 - v10 - v01 + v00))
        else:
            # mixed second derivatives; the unmixed ones are 0
            xy = high - low
            xz = x01 - x00 + fy * (x11 - x10 - x01 + x00)
            yz = v11 - v10 - v01 + v00
            vx, vy, vz = tangent[0, j], tangent[1, j], tangent[2, j]
            out_x[j] += half * half * (xy * vy + xz * vz)
            out_y[j] += half * half * (xy * vx + yz * vz)
            out_z[j] += half * half * (xz * vx + yz * vy)
