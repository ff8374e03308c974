"""Compositing on CPUs: one pass over the samples, split between threads at ray boundaries."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch

from threefusion.ops.composite import PerRay, PerSample, RayIndex, Values
from threefusion.ops.numba_kernels.compile import array, compiled
from threefusion.ops.parallel import run


def weights(optical_depth: PerSample, ray_index: RayIndex, rays: int) -> tuple[PerSample, PerSample]:
    """Weight of each sample, and transmittance in front of it."""
    out, transmittance = torch.empty_like(optical_depth), torch.empty_like(optical_depth)
    run(_weights, array(optical_depth), array(ray_index), array(out), array(transmittance))
    return out, transmittance


def weights_backward(
    gradient: PerSample, weights: PerSample, transmittance: PerSample, ray_index: RayIndex, rays: int
) -> PerSample:
    """Gradient with respect to the optical depth."""
    out = torch.empty_like(gradient)
    run(_weights_backward, array(gradient), array(weights), array(transmittance), array(ray_index), array(out))
    return out


def weighted_sums(weights: PerSample, values: Values, ray_index: RayIndex, rays: int) -> PerRay:
    """Sums over the samples of each ray."""
    out = values.new_zeros(rays, values.shape[1])
    run(_sums, array(weights), array(values), array(ray_index), array(out))
    return out


def weighted_sums_backward(gradient: PerRay, weights: PerSample, values: Values, ray_index: RayIndex) -> tuple[PerSample, Values]:
    """Gradients with respect to the weights and the values."""
    for_weights, for_values = torch.empty_like(weights), values.new_empty(values.shape)
    run(_sums_backward, array(gradient), array(weights), array(values), array(ray_index), array(for_weights), array(for_values))
    return for_weights, for_values


@compiled
@no_type_check
def _share(part, parts, ray_index):
    """Range of samples of one part: about equal sizes, whole rays only."""
    total = len(ray_index)
    begin, end = total * part // parts, total * (part + 1) // parts
    while 0 < begin < total and ray_index[begin] == ray_index[begin - 1]:
        begin += 1
    while 0 < end < total and ray_index[end] == ray_index[end - 1]:
        end += 1
    return begin, end


@compiled
@no_type_check
def _weights(part, parts, optical_depth, ray_index, out, transmittance):
    begin, end = _share(part, parts, ray_index)
    before = 0.0
    for i in range(begin, end):
        if i == begin or ray_index[i] != ray_index[i - 1]:
            before = 0.0
        transmittance[i] = np.exp(-before)
        out[i] = transmittance[i] * -np.expm1(-optical_depth[i])
        before += optical_depth[i]


@compiled
@no_type_check
def _weights_backward(part, parts, gradient, weights, transmittance, ray_index, out):
    begin, end = _share(part, parts, ray_index)
    after = 0.0
    for i in range(end - 1, begin - 1, -1):
        if i == end - 1 or ray_index[i] != ray_index[i + 1]:
            after = 0.0
        out[i] = gradient[i] * (transmittance[i] - weights[i]) - after
        after += gradient[i] * weights[i]


@compiled
@no_type_check
def _sums(part, parts, weights, values, ray_index, out):
    begin, end = _share(part, parts, ray_index)
    for i in range(begin, end):
        for c in range(values.shape[1]):
            out[ray_index[i], c] += weights[i] * values[i, c]


@compiled
@no_type_check
def _sums_backward(part, parts, gradient, weights, values, ray_index, for_weights, for_values):
    begin, end = _share(part, parts, ray_index)
    for i in range(begin, end):
        total = values[i, 0] * 0
        for c in range(values.shape[1]):
            total += gradient[ray_index[i], c] * values[i, c]
            for_values[i, c] = gradient[ray_index[i], c] * weights[i]
        for_weights[i] = total
