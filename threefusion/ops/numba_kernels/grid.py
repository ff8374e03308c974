"""Grid encoding for processors.

All points go through one level after the other, because one level's rows fit into the second-level cache, and encodings lie in
memory feature by feature, so that a level writes its own in order. Rows and weights of a block of points are computed first, in
loops that compilers vectorise, and then used. In `scatter` each level belongs to one thread, so that the sums are the same
whatever the number of threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.ops.grid import PRIMES, Grid
from threefusion.ops.numba_kernels.compile import array, compiled
from threefusion.ops.parallel import run

BLOCK = 256
"""Points whose rows and weights are held at once."""
_PRIME_Y, _PRIME_Z = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])


class Layout(NamedTuple):
    """A grid as arrays, one entry per level."""

    half: np.ndarray
    shift: np.ndarray
    last: np.ndarray
    side: np.ndarray
    rows: np.ndarray
    offset: np.ndarray
    hashed: np.ndarray
    row: tuple[int, ...]
    """As long as a row of the table: a tuple's length is a constant in compiled code, so that loops over a row are unrolled."""


@lru_cache(maxsize=32)
def layout(grid: Grid, dtype: torch.dtype) -> Layout:
    """The grid's levels for points of type `dtype`."""
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


def gather(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], tangent: Float[Tensor, "N 3"] | None, grid: Grid
) -> Float[Tensor, "N C"]:
    """out[n, l] = sum over corners k of weight_k table[row_k]."""
    out = table.new_empty(grid.width, len(points))
    lay = layout(grid, table.dtype)
    run(_gather, array(points.t()), array(table), _optional(tangent), lay, array(out))
    return out.t()


def scatter(
    points: Float[Tensor, "N 3"], cotangent: Float[Tensor, "N C"], tangent: Float[Tensor, "N 3"] | None, grid: Grid
) -> Float[Tensor, "T F"]:
    """out[row_k] = sum over points n of weight_k cotangent[n, l]."""
    out = cotangent.new_zeros(grid.rows, grid.features)
    lay = layout(grid, cotangent.dtype)
    run(_scatter, array(points.t()), array(cotangent.t()), _optional(tangent), lay, array(out))
    return out


def pull(
    points: Float[Tensor, "N 3"],
    table: Float[Tensor, "T F"],
    cotangent: Float[Tensor, "N C"],
    tangent: Float[Tensor, "N 3"] | None,
    grid: Grid,
) -> Float[Tensor, "N 3"]:
    """out[n] = sum over levels and corners k of grad weight_k (table[row_k] . cotangent[n, l])."""
    out = points.new_zeros(3, len(points))
    lay = layout(grid, table.dtype)
    run(_pull, array(points.t()), array(table), array(cotangent.t()), _optional(tangent), lay, array(out))
    return out.t().contiguous()


def _optional(tangent: Tensor | None) -> np.ndarray | None:
    return None if tangent is None else array(tangent.t())


@compiled
@no_type_check
def _place(x, half, shift, last):
    """The low corner along one axis, and how far beyond it x lies; the same expression as in torch, rounding included."""
    place = (x + np.float32(1)) * half + shift
    # in this order, so that what is not a number goes to the first cell; rounding down what is not negative is a conversion
    low = place if place > 0 else np.float32(0)
    low = np.int32(low if low < last else last)
    return low, place - np.float32(low)


@compiled
@no_type_check
def _find(points, block, level, lay, rows, fractions):
    """Rows of the corners (x slowest, z fastest) of the cells of a block of points, and the places in the cells."""
    xs, ys, zs = points[0][block], points[1][block], points[2][block]
    half, shift, last, total = lay.half[level], lay.shift[level], lay.last[level], lay.rows[level]
    along_y = lay.side[level]
    along_z = np.int32(along_y * along_y)
    if lay.hashed[level]:
        mask = np.uint32(total - 1)
        for j in range(len(xs)):
            x, fractions[0, j] = _place(xs[j], half, shift, last)
            y, fractions[1, j] = _place(ys[j], half, shift, last)
            z, fractions[2, j] = _place(zs[j], half, shift, last)
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
            x, fractions[0, j] = _place(xs[j], half, shift, last)
            y, fractions[1, j] = _place(ys[j], half, shift, last)
            z, fractions[2, j] = _place(zs[j], half, shift, last)
            for k in range(8):
                row = np.int32(x + (k >> 2) + (y + ((k >> 1) & 1)) * along_y + (z + (k & 1)) * along_z)
                rows[k, j] = row - total if row >= total else row


@compiled
@no_type_check
def _weigh(fractions, count, tangent, half, weights):
    """Weights of the corners, or their derivatives along a tangent."""
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


@compiled
@no_type_check
def _gather(part, parts, points, table, tangent, lay, out):
    """Each part of the points has a thread."""
    features, total = len(lay.row), out.shape[1]
    rows, weights = np.empty((8, BLOCK), np.uint32), np.empty((8, BLOCK), table.dtype)
    fractions = np.empty((3, BLOCK), table.dtype)
    begin, end = total * part // parts, total * (part + 1) // parts
    for level in range(len(lay.half)):
        grid = table[lay.offset[level] : lay.offset[level] + lay.rows[level]]
        for first in range(begin, end, BLOCK):
            # slices: an index that might be negative, for all the compiler knows, keeps it from vectorising
            block = slice(first, min(first + BLOCK, end))
            count = block.stop - block.start
            _find(points, block, level, lay, rows, fractions)
            _weigh(fractions, count, None if tangent is None else tangent[:, block], lay.half[level], weights)
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


@compiled
@no_type_check
def _scatter(part, parts, points, cotangent, tangent, lay, out):
    """Each thread has every so manieth level."""
    features, total = len(lay.row), cotangent.shape[1]
    rows, weights = np.empty((8, BLOCK), np.uint32), np.empty((8, BLOCK), out.dtype)
    fractions = np.empty((3, BLOCK), out.dtype)
    for level in range(part, len(lay.half), parts):
        grid = out[lay.offset[level] : lay.offset[level] + lay.rows[level]]
        for first in range(0, total, BLOCK):
            block = slice(first, min(first + BLOCK, total))
            count = block.stop - block.start
            _find(points, block, level, lay, rows, fractions)
            _weigh(fractions, count, None if tangent is None else tangent[:, block], lay.half[level], weights)
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


@compiled
@no_type_check
def _pull(part, parts, points, table, cotangent, tangent, lay, out):
    """Each part of the points has a thread."""
    features, total = len(lay.row), out.shape[1]
    rows, values = np.empty((8, BLOCK), np.uint32), np.empty((8, BLOCK), table.dtype)
    fractions = np.empty((3, BLOCK), table.dtype)
    begin, end = total * part // parts, total * (part + 1) // parts
    for level in range(len(lay.half)):
        grid = table[lay.offset[level] : lay.offset[level] + lay.rows[level]]
        for first in range(begin, end, BLOCK):
            block = slice(first, min(first + BLOCK, end))
            given = cotangent[level * features : (level + 1) * features, block]
            _find(points, block, level, lay, rows, fractions)
            for j in range(block.stop - block.start):
                for k in range(8):
                    row, value = rows[k, j], np.float32(0)
                    for f in range(features):
                        value += grid[row, f] * given[f, j]
                    values[k, j] = value
            _slopes(fractions, None if tangent is None else tangent[:, block], lay.half[level], values, out[:, block])


@compiled
@no_type_check
def _slopes(fractions, tangent, half, values, out):
    """Add the gradient of the interpolation of eight values, or of its derivative along a tangent."""
    out_x, out_y, out_z = out[0], out[1], out[2]
    for j in range(len(out_x)):
        # along x first: what is left are four values on the edges of a square in y and z, and their slopes
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
            # the mixed second derivatives; those along one axis twice are 0
            xy = high - low
            xz = x01 - x00 + fy * (x11 - x10 - x01 + x00)
            yz = v11 - v10 - v01 + v00
            vx, vy, vz = tangent[0, j], tangent[1, j], tangent[2, j]
            out_x[j] += half * half * (xy * vy + xz * vz)
            out_y[j] += half * half * (xy * vx + yz * vz)
            out_z[j] += half * half * (xz * vx + yz * vy)
