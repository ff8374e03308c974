"""Grid encoding on CUDA devices.

One program processes a block of points at one level. Levels are the slow axis of the launch, so that concurrent programs share
the rows of one level, which fit into the L2 cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.grid import PRIMES, Encoded, Grid, Points, Table
from threefusion.ops.triton_kernels.launch import device_of

BLOCK = 128
"""Points per program."""


def gather(points: Points, table: Table, tangent: Points | None, grid: Grid) -> Encoded:
    """out[n, l] = sum over corners k of weight_k table[row_k]."""
    out = table.new_empty(len(points), grid.width)
    _launch(_gather, grid, points, tangent, table.contiguous(), out)
    return out


def scatter(points: Points, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Table:
    """out[row_k] = sum over points n of weight_k cotangent[n, l]; atomic, so the summation order is not deterministic."""
    out = cotangent.new_zeros(grid.rows, grid.features)
    _launch(_scatter, grid, points, tangent, cotangent.contiguous(), out)
    return out


def point_gradient(points: Points, table: Table, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Points:
    """out[n] = sum over levels and corners k of grad weight_k (table[row_k] . cotangent[n, l])."""
    parts = points.new_empty(len(grid.levels), len(points), 3)
    _launch(_point_gradient, grid, points, tangent, table.contiguous(), cotangent.contiguous(), parts)
    return parts.sum(0)


def _launch(kernel: Any, grid: Grid, points: Tensor, tangent: Tensor | None, *tensors: Tensor) -> None:
    """Launch a kernel over all points and levels."""
    programs = (triton.cdiv(len(points), BLOCK), len(grid.levels))
    tangent = None if tangent is None else tangent.contiguous()
    transforms, sizes = _layout(grid, points.dtype, points.device)
    padded = triton.next_power_of_2(grid.features)
    with device_of(points):
        # without fused multiply-adds positions round as in torch; at fine levels the rounding is visible in the weights
        kernel[programs](
            *(points.contiguous(), tangent, *tensors, transforms, sizes, len(points)),
            *(grid.features, padded, BLOCK),
            num_warps=4,
            enable_fp_fusion=False,
        )


@lru_cache(maxsize=32)
def _layout(grid: Grid, dtype: torch.dtype, device: torch.device) -> tuple[Float[Tensor, "L 3"], Int[Tensor, "L 5"]]:
    """Per level (scale / 2, shift, last) and (first row, rows, hashed, y stride, z stride)."""
    transforms = [[level.scale / 2, level.shift, level.last] for level in grid.levels]
    sizes = []
    for level, offset in zip(grid.levels, grid.offsets, strict=False):
        # signed 32-bit primes: only the low bits survive the mask
        strides = [prime - 2**32 * (prime >= 2**31) for prime in PRIMES[1:]] if level.hashed else [level.side, level.side**2]
        sizes.append([offset, level.rows, level.hashed, *strides])
    return torch.tensor(transforms, dtype=dtype).to(device), torch.tensor(sizes, dtype=torch.int32).to(device)


@triton.jit
@no_type_check
def _vectors(tensor, index, inside):
    """The three coordinates of points or tangents."""
    x = tl.load(tensor + 3 * index, mask=inside, other=0)
    y = tl.load(tensor + 3 * index + 1, mask=inside, other=0)
    return x, y, tl.load(tensor + 3 * index + 2, mask=inside, other=0)


@triton.jit
@no_type_check
def _cell(x, half, shift, last):
    """Low corner of the cell along one axis and the fraction within it; same expression as in torch, for identical rounding."""
    position = (x + 1) * half + shift
    # this order sends NaN to the first cell; for non-negative numbers the conversion rounds down
    low = tl.minimum(tl.where(position > 0, position, 0), last.to(position.dtype)).to(tl.int32)
    return low, position - low.to(position.dtype)


@triton.jit
@no_type_check
def _cells(points, index, inside, transforms):
    """Low corners of the points' cells at this program's level, fractions within them, and half the scale."""
    x, y, z = _vectors(points, index, inside)
    transforms += 3 * tl.program_id(1)
    half, shift, last = tl.load(transforms), tl.load(transforms + 1), tl.load(transforms + 2)
    x, fx = _cell(x, half, shift, last)
    y, fy = _cell(y, half, shift, last)
    z, fz = _cell(z, half, shift, last)
    return (x, y, z), (fx, fy, fz), half


@triton.jit
@no_type_check
def _level(sizes):
    """(rows, hashed, y stride, z stride) of this program's level."""
    sizes += 5 * tl.program_id(1)
    return tl.load(sizes + 1), tl.load(sizes + 2) != 0, tl.load(sizes + 3), tl.load(sizes + 4)


@triton.jit
@no_type_check
def _row(corner: tl.constexpr, low, level):
    """Row of a corner within its level; corners are numbered x slowest, z fastest."""
    rows, hashed, along_y, along_z = level
    x, y, z = low[0] + corner // 4, (low[1] + corner // 2 % 2) * along_y, (low[2] + corner % 2) * along_z
    dense = x + y + z
    dense = tl.where(dense >= rows, dense - rows, dense)
    return tl.where(hashed, (x ^ y ^ z) & (rows - 1), dense)


@triton.jit
@no_type_check
def _factors(corner: tl.constexpr, fraction, half):
    """Factors of a corner's weight per axis, and their derivatives."""
    fx, fy, fz = fraction
    wx, dx = (fx, half) if corner // 4 else (1 - fx, -half)
    wy, dy = (fy, half) if corner // 2 % 2 else (1 - fy, -half)
    wz, dz = (fz, half) if corner % 2 else (1 - fz, -half)
    return wx, wy, wz, dx, dy, dz


@triton.jit
@no_type_check
def _weight(corner: tl.constexpr, fraction, half, along):
    """A corner's weight, or its directional derivative."""
    wx, wy, wz, dx, dy, dz = _factors(corner, fraction, half)
    if along is None:
        return wx * wy * wz
    else:
        vx, vy, vz = along
        return dx * vx * wy * wz + wx * dy * vy * wz + wx * wy * dz * vz


@triton.jit
@no_type_check
def _block(count, FEATURES: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """Indices of this program's points and their mask, feature indices, and the mask of both."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside, feature = index < count, tl.arange(0, PADDED)[None, :]
    return index, inside, feature, inside[:, None] & (feature < FEATURES)


@triton.jit
@no_type_check
def _column(index, feature, FEATURES: tl.constexpr):
    """Offsets into `[N C]` of the points' features at this program's level."""
    width = tl.num_programs(1) * FEATURES
    return index[:, None] * width + tl.program_id(1) * FEATURES + feature


@triton.jit
@no_type_check
def _start(sizes, FEATURES: tl.constexpr):
    """Offset of this program's level in the table."""
    return tl.load(sizes + 5 * tl.program_id(1)).to(tl.int64) * FEATURES


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _gather(
    points, tangent, table, out, transforms, sizes, count, FEATURES: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr
):
    """A block of points at one level."""
    index, inside, feature, mask = _block(count, FEATURES, PADDED, BLOCK)
    low, fraction, half = _cells(points, index, inside, transforms)
    along = None if tangent is None else _vectors(tangent, index, inside)
    table += _start(sizes, FEATURES)
    level = _level(sizes)
    total = tl.zeros([BLOCK, PADDED], table.dtype.element_ty)
    for corner in tl.static_range(8):
        weight = _weight(corner, fraction, half, along)
        offset = _row(corner, low, level)[:, None] * FEATURES + feature
        total += weight[:, None] * tl.load(table + offset, mask=mask, other=0)
    tl.store(out + _column(index, feature, FEATURES), total, mask=mask)


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _scatter(
    points, tangent, cotangent, out, transforms, sizes, count, FEATURES: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr
):
    """A block of points at one level."""
    index, inside, feature, mask = _block(count, FEATURES, PADDED, BLOCK)
    low, fraction, half = _cells(points, index, inside, transforms)
    along = None if tangent is None else _vectors(tangent, index, inside)
    gradient = tl.load(cotangent + _column(index, feature, FEATURES), mask=mask, other=0)
    out += _start(sizes, FEATURES)
    level = _level(sizes)
    for corner in tl.static_range(8):
        weight = _weight(corner, fraction, half, along)
        offset = _row(corner, low, level)[:, None] * FEATURES + feature
        tl.atomic_add(out + offset, weight[:, None] * gradient, mask=mask, sem="relaxed")


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _point_gradient(
    points,
    tangent,
    table,
    cotangent,
    out,
    transforms,
    sizes,
    count,
    FEATURES: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of points at one level; `out` is `[L N 3]`."""
    index, inside, feature, mask = _block(count, FEATURES, PADDED, BLOCK)
    low, fraction, half = _cells(points, index, inside, transforms)
    along = None if tangent is None else _vectors(tangent, index, inside)
    gradient = tl.load(cotangent + _column(index, feature, FEATURES), mask=mask, other=0)
    table += _start(sizes, FEATURES)
    level = _level(sizes)
    gx, gy, gz = tl.zeros_like(fraction[0]), tl.zeros_like(fraction[0]), tl.zeros_like(fraction[0])
    for corner in tl.static_range(8):
        offset = _row(corner, low, level)[:, None] * FEATURES + feature
        value = tl.sum(gradient * tl.load(table + offset, mask=mask, other=0), 1)
        wx, wy, wz, dx, dy, dz = _factors(corner, fraction, half)
        if along is None:
            gx += dx * wy * wz * value
            gy += wx * dy * wz * value
            gz += wx * wy * dz * value
        else:
            # factors are linear, so each axis has only mixed second derivatives
            vx, vy, vz = along
            gx += dx * (dy * vy * wz + wy * dz * vz) * value
            gy += dy * (dx * vx * wz + wx * dz * vz) * value
            gz += dz * (dx * vx * wy + wx * dy * vy) * value
    out += (tl.program_id(1).to(tl.int64) * count + index) * 3
    tl.store(out, gx, mask=inside)
    tl.store(out + 1, gy, mask=inside)
    tl.store(out + 2, gz, mask=inside)
