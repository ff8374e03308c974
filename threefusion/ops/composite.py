"""Emission and absorption along rays, on packed samples (NeRF, arXiv 2003.08934, eq. 3).

A batch holds samples of all rays one after the other, sorted by ray and then by distance, so rays that miss cost nothing.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.ops.backend import kernels


def packed_weights(optical_depth: Float[Tensor, "N"], ray_index: Int[Tensor, "N"], rays: int) -> Float[Tensor, "N"]:
    """How much of each sample reaches the camera: w_i = T_i (1 - exp(-tau_i)), T_i = exp(-sum of tau before i on the same ray).

    `optical_depth` is density times length. The weights of a ray and its remaining transmittance add up to 1.
    """
    return _Weights.apply(optical_depth, ray_index, rays)


def weighted_sums(
    weights: Float[Tensor, "N"], values: Float[Tensor, "N C"], ray_index: Int[Tensor, "N"], rays: int
) -> Float[Tensor, "{rays} C"]:
    """Sum of weight times value over the samples of each ray; 0 for rays without any."""
    return _Sums.apply(weights, values, ray_index, rays)


class _Weights(Function):
    @staticmethod
    def forward(ctx, optical_depth, ray_index, rays):
        weights, transmittance = kernels("composite", optical_depth.device).weights(optical_depth, ray_index, rays)
        ctx.save_for_backward(weights, transmittance, ray_index)
        ctx.rays = rays
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """dL/dtau_i = g_i (T_i - w_i) - sum over j > i on the same ray of g_j w_j."""
        backend = kernels("composite", gradient.device)
        return backend.weights_backward(gradient.contiguous(), *ctx.saved_tensors, ctx.rays), None, None


class _Sums(Function):
    @staticmethod
    def forward(ctx, weights, values, ray_index, rays):
        ctx.save_for_backward(weights, values, ray_index)
        return kernels("composite", weights.device).weighted_sums(weights, values, ray_index, rays)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        backend = kernels("composite", gradient.device)
        for_weights, for_values = backend.weighted_sums_backward(gradient.contiguous(), *ctx.saved_tensors)
        return for_weights, for_values, None, None
