"""Emission and absorption along rays, on packed samples (NeRF, arXiv 2003.08934, eq. 3).

A batch holds samples of all rays one after the other, sorted by ray and then by distance, so rays that miss cost nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def packed_weights(optical_depth: Float[Tensor, "N"], ray_index: Int[Tensor, "N"], rays: int) -> Float[Tensor, "N"]:
    """How much of each sample reaches the camera: w_i = T_i (1 - exp(-tau_i)), T_i = exp(-sum of tau before i on the same ray).

    `optical_depth` is density times length. The weights of a ray and its remaining transmittance add up to 1.
    """
    return _Weights.apply(optical_depth, ray_index, rays)


def accumulate(values: Float[Tensor, "N C"], ray_index: Int[Tensor, "N"], rays: int) -> Float[Tensor, "{rays} C"]:
    """Sums over the samples of each ray; 0 for rays without any."""
    return values.new_zeros(rays, values.shape[1]).index_add(0, ray_index, values)


def _sums_before(value: Tensor, ray_index: Tensor, rays: int) -> tuple[Tensor, Tensor]:
    """Sum over the earlier samples of the same ray, and over all of them, for every sample; in float64.

    One running sum serves all rays; in float32 the difference of two far-off values of it would lose the small ones.
    """
    running = torch.cat([value.new_zeros(1, dtype=torch.float64), value.double().cumsum(0)])
    # a search rather than `bincount`, which on a GPU makes the host wait for the largest index
    borders = torch.searchsorted(ray_index, torch.arange(rays + 1, device=ray_index.device, dtype=ray_index.dtype))
    first, last = running[borders[:-1]], running[borders[1:]]
    return running[:-1] - first[ray_index], (last - first)[ray_index]


class _Weights(Function):
    @staticmethod
    def forward(ctx, optical_depth, ray_index, rays):
        before, _ = _sums_before(optical_depth, ray_index, rays)
        transmittance = (-before).exp().to(optical_depth.dtype)
        weights = transmittance * -torch.expm1(-optical_depth)
        ctx.save_for_backward(transmittance, weights, ray_index)
        ctx.rays = rays
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """dL/dtau_i = g_i (T_i - w_i) - sum over j > i on the same ray of g_j w_j."""
        transmittance, weights, ray_index = ctx.saved_tensors
        shadowed = gradient * weights
        before, total = _sums_before(shadowed, ray_index, ctx.rays)
        after = (total - before).to(gradient.dtype) - shadowed
        return gradient * (transmittance - weights) - after, None, None
