"""Compositing on CPUs: one pass over the samples, split between threads at ray boundaries."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.ops.composite import PerRay, PerSample, RayIndex, Sums, Values
from threefusion.ops.numba_kernels.compile import array, compiled, contracted
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


def composite(
    optical_depth: PerSample, values: Values, distances: PerSample, ray_index: RayIndex, rays: int
) -> tuple[Sums, PerSample, PerSample]:
    """Sums of the values, of 1 and of the distances; weight of each sample, and transmittance in front of it."""
    opacity = -torch.expm1(-optical_depth)
    weights, transmittance = torch.empty_like(opacity), torch.empty_like(opacity)
    sums = values.new_zeros(rays, values.shape[1] + 2)
    out = tuple(map(array, (weights, transmittance, sums)))
    run(_composite, *map(array, (opacity, values.t(), distances, ray_index)), out, items=len(ray_index))
    return sums, weights, transmittance


def composite_backward(
    for_sums: Float[Tensor, "R K"] | None,
    for_weights: PerSample | None,
    values: Values,
    distances: PerSample,
    ray_index: RayIndex,
    weights: PerSample,
    transmittance: PerSample,
) -> tuple[PerSample, Values]:
    """Gradients with respect to the optical depth and the values."""
    for_sums = values.new_zeros(0, 0) if for_sums is None else for_sums
    for_weights = weights.new_zeros(0) if for_weights is None else for_weights
    for_depth, for_values = torch.empty_like(weights), values.new_zeros(values.shape[1], len(values))
    gradients = tuple(map(array, (for_sums, for_weights, for_depth, for_values)))
    given = map(array, (values.t(), distances, ray_index, weights, transmittance))
    run(_composite_backward, gradients, *given, items=len(ray_index))
    return for_depth, for_values.t()


@contracted
@no_type_check
def _composite(part, parts, opacity, values, distances, ray_index, out):
    weights, transmittance, sums = out
    begin, end = _share(part, parts, ray_index)
    channels, first = len(values), begin
    while first < end:
        ray, last, before = ray_index[first], first, 1.0
        while last < end and ray_index[last] == ray:
            weights[last], transmittance[last] = before * opacity[last], before
            before *= 1.0 - opacity[last]
            last += 1
        # channel by channel: sums stay in registers
        of_ray, out = weights[first:last], sums[ray]
        for c in range(channels):
            out[c] = _dot(of_ray, values[c][first:last])
        out[channels + 1] = _dot(of_ray, distances[first:last])
        total = out.dtype.type(0)
        for j in range(len(of_ray)):
            total += of_ray[j]
        out[channels] = total
        first = last


@contracted
@no_type_check
def _dot(a, b):
    total = a.dtype.type(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@contracted
@no_type_check
def _composite_backward(part, parts, gradients, values, distances, ray_index, weights, transmittance):
    """dL/dtau_i = g_i (T_i - w_i) - sum over j > i on the same ray of g_j w_j, with g the gradient of the weights."""
    begin, end = _share(part, parts, ray_index)
    for_sums, for_weights, for_depth, for_values = gradients
    channels, first = len(values), begin
    while first < end:
        ray, last, after = ray_index[first], first, 0.0
        while last < end and ray_index[last] == ray:
            last += 1
        # the gradient of the weights, channel by channel, then in its place that of the depths from the last sample on
        out = for_depth[first:last]
        out[:] = 0
        if len(for_weights):
            out += for_weights[first:last]
        if len(for_sums):
            of_ray = for_sums[ray]
            _add_scaled(of_ray[channels + 1], distances[first:last], out)
            for c in range(channels):
                _add_scaled(of_ray[c], values[c][first:last], out)
                for_values[c][first:last] = of_ray[c] * weights[first:last]
            out += of_ray[channels]
        for i in range(last - 1, first - 1, -1):
            of_weight = for_depth[i]
            for_depth[i] = of_weight * (transmittance[i] - weights[i]) - after
            after += of_weight * weights[i]
        first = last


@contracted
@no_type_check
def _add_scaled(factor, values, out):
    for j in range(len(out)):
        out[j] += factor * values[j]


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
