"""Compositing in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from threefusion.ops.composite import PerRay, PerSample, RayIndex, Values


def weights(optical_depth: PerSample, ray_index: RayIndex, rays: int) -> tuple[PerSample, PerSample]:
    """Weight of each sample, and transmittance in front of it."""
    before, _ = _sums_before(optical_depth, ray_index, rays)
    transmittance = (-before).exp().to(optical_depth.dtype)
    return transmittance * -torch.expm1(-optical_depth), transmittance


def weights_backward(
    gradient: PerSample, weights: PerSample, transmittance: PerSample, ray_index: RayIndex, rays: int
) -> PerSample:
    """Gradient with respect to the optical depth."""
    shadowed = gradient * weights
    before, total = _sums_before(shadowed, ray_index, rays)
    after = (total - before).to(gradient.dtype) - shadowed
    return gradient * (transmittance - weights) - after


def weighted_sums(weights: PerSample, values: Values, ray_index: RayIndex, rays: int) -> PerRay:
    """Sums over the samples of each ray."""
    return values.new_zeros(rays, values.shape[1]).index_add(0, ray_index, values * weights[:, None])


def weighted_sums_backward(gradient: PerRay, weights: PerSample, values: Values, ray_index: RayIndex) -> tuple[PerSample, Values]:
    """Gradients with respect to the weights and the values."""
    of_ray = gradient.index_select(0, ray_index)
    return (of_ray * values).sum(-1), of_ray * weights[:, None]


def _sums_before(value: Tensor, ray_index: Tensor, rays: int) -> tuple[Tensor, Tensor]:
    """Exclusive prefix sum within each ray, and the sum over the whole ray, per sample; in float64.

    All rays share one cumulative sum; in float32 its differences would lose small values.
    """
    running = torch.cat([value.new_zeros(1, dtype=torch.float64), value.double().cumsum(0)])
    # not `bincount`, which synchronises host and GPU
    borders = torch.searchsorted(ray_index, torch.arange(rays + 1, device=ray_index.device, dtype=ray_index.dtype))
    first, last = running[borders[:-1]], running[borders[1:]]
    return running[:-1] - first[ray_index], (last - first)[ray_index]
