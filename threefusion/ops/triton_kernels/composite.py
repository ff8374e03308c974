"""Compositing on CUDA devices.

One program processes one ray, a block of samples at a time, and carries the prefix sum. The summation order is therefore fixed,
and large optical depths of one ray do not reduce the precision of another.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Int
from torch import Tensor

from threefusion.ops.composite import PerRay, PerSample, RayIndex, Values
from threefusion.ops.triton_kernels.launch import device_of

BLOCK = 64
"""Samples per block."""


def weights(optical_depth: PerSample, ray_index: RayIndex, rays: int) -> tuple[PerSample, PerSample]:
    """Weight of each sample, and transmittance in front of it."""
    optical_depth = optical_depth.contiguous()
    out, transmittance = torch.empty_like(optical_depth), torch.empty_like(optical_depth)
    with device_of(out):
        _weights[(rays,)](optical_depth, _starts(ray_index, rays), out, transmittance, BLOCK, num_warps=1)
    return out, transmittance


def weights_backward(
    gradient: PerSample, weights: PerSample, transmittance: PerSample, ray_index: RayIndex, rays: int
) -> PerSample:
    """Gradient with respect to the optical depth."""
    out = torch.empty_like(weights)
    with device_of(out):
        tensors = (gradient.contiguous(), weights, transmittance, _starts(ray_index, rays), out)
        _weights_backward[(rays,)](*tensors, BLOCK, num_warps=1)
    return out


def weighted_sums(weights: PerSample, values: Values, ray_index: RayIndex, rays: int) -> PerRay:
    """Sums over the samples of each ray."""
    channels = values.shape[1]
    out = values.new_empty(rays, channels)
    with device_of(out):
        tensors = (weights.contiguous(), values.contiguous(), _starts(ray_index, rays), out)
        _weighted_sums[(rays,)](*tensors, channels, triton.next_power_of_2(channels), BLOCK, num_warps=1)
    return out


def weighted_sums_backward(gradient: PerRay, weights: PerSample, values: Values, ray_index: RayIndex) -> tuple[PerSample, Values]:
    """Gradients with respect to the weights and the values."""
    (count, channels), weights, values = values.shape, weights.contiguous(), values.contiguous()
    for_weights, for_values = torch.empty_like(weights), torch.empty_like(values)
    with device_of(weights):
        _weighted_sums_backward[(triton.cdiv(count, BLOCK),)](
            *(gradient.contiguous(), weights, values, ray_index.contiguous(), for_weights, for_values),
            *(count, channels, triton.next_power_of_2(channels), BLOCK),
            num_warps=4,
        )
    return for_weights, for_values


def _starts(ray_index: Int[Tensor, "N"], rays: int) -> Int[Tensor, "{rays}+1"]:
    """First sample of each ray, and the number of samples as the last entry; without host synchronisation."""
    return torch.searchsorted(ray_index.contiguous(), torch.arange(rays + 1, device=ray_index.device))


@triton.jit
@no_type_check
def _absorbed(depth):
    """1 - exp(-depth), by its series for small depths to avoid cancellation."""
    series = 1 - depth / 2 * (1 - depth / 3 * (1 - depth / 4 * (1 - depth / 5 * (1 - depth / 6))))
    return tl.where(tl.abs(depth) < 0.25, depth * series, 1 - tl.exp(-depth))


@triton.jit
@no_type_check
def _weights(optical_depth, starts, out, transmittance, BLOCK: tl.constexpr):
    """One ray, front to back."""
    ray = tl.program_id(0)
    begin, end = tl.load(starts + ray), tl.load(starts + ray + 1)
    before = tl.zeros([1], optical_depth.dtype.element_ty)
    for first in range(begin, end, BLOCK):
        sample = first + tl.arange(0, BLOCK)
        inside = sample < end
        # shifted by one sample: an inclusive sum minus the own depth would cancel
        earlier = tl.load(optical_depth + sample - 1, mask=inside & (sample > begin), other=0)
        left = tl.exp(-(before + tl.cumsum(earlier, 0)))
        depth = tl.load(optical_depth + sample, mask=inside, other=0)
        tl.store(transmittance + sample, left, mask=inside)
        tl.store(out + sample, left * _absorbed(depth), mask=inside)
        before += tl.sum(earlier, 0)


@triton.jit
@no_type_check
def _weights_backward(gradient, weights, transmittance, starts, out, BLOCK: tl.constexpr):
    """One ray, back to front."""
    ray = tl.program_id(0)
    begin, end = tl.load(starts + ray), tl.load(starts + ray + 1)
    behind = tl.zeros([1], weights.dtype.element_ty)
    for done in range(0, end - begin, BLOCK):
        sample = end - 1 - done - tl.arange(0, BLOCK)
        inside = sample >= begin
        further = inside & (sample < end - 1)
        shadowed = tl.load(gradient + sample + 1, mask=further, other=0) * tl.load(weights + sample + 1, mask=further, other=0)
        left = tl.load(transmittance + sample, mask=inside, other=0) - tl.load(weights + sample, mask=inside, other=0)
        own = tl.load(gradient + sample, mask=inside, other=0) * left
        tl.store(out + sample, own - (behind + tl.cumsum(shadowed, 0)), mask=inside)
        behind += tl.sum(shadowed, 0)


@triton.jit
@no_type_check
def _weighted_sums(weights, values, starts, out, CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """One ray."""
    ray, channel = tl.program_id(0), tl.arange(0, PADDED)
    begin, end = tl.load(starts + ray), tl.load(starts + ray + 1)
    total = tl.zeros([BLOCK, PADDED], values.dtype.element_ty)
    for first in range(begin, end, BLOCK):
        sample = first + tl.arange(0, BLOCK)
        inside = sample < end
        mask = inside[:, None] & (channel < CHANNELS)[None, :]
        value = tl.load(values + sample[:, None] * CHANNELS + channel[None, :], mask=mask, other=0)
        total += tl.load(weights + sample, mask=inside, other=0)[:, None] * value
    tl.store(out + ray.to(tl.int64) * CHANNELS + channel, tl.sum(total, 0), mask=channel < CHANNELS)


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _weighted_sums_backward(
    gradient,
    weights,
    values,
    ray_index,
    for_weights,
    for_values,
    count,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of samples of any rays."""
    sample, channel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, PADDED)[None, :]
    inside = sample < count
    mask = inside[:, None] & (channel < CHANNELS)
    ray = tl.load(ray_index + sample, mask=inside, other=0)
    of_ray = tl.load(gradient + ray[:, None] * CHANNELS + channel, mask=mask, other=0)
    offset = sample[:, None] * CHANNELS + channel
    value = tl.load(values + offset, mask=mask, other=0)
    weight = tl.load(weights + sample, mask=inside, other=0)
    tl.store(for_weights + sample, tl.sum(of_ray * value, 1), mask=inside)
    tl.store(for_values + offset, of_ray * weight[:, None], mask=mask)
