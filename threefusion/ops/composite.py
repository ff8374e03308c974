"""Volume rendering on packed samples: emission and absorption along rays (NeRF, arXiv 2003.08934, eq. 3).

The samples of all rays are concatenated, sorted by ray and then by distance; rays without samples cost nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32

PerSample = Float[Tensor, "N"]
RayIndex = Int[Tensor, "N"]
"""The ray of each sample, ascending."""
Values = Float[Tensor, "N C"]
PerRay = Float[Tensor, "R C"]
Sums = Float[Tensor, "R C+2"]
"""Of the values, of 1 and of the distances."""


def packed_weights(optical_depth: PerSample, ray_index: RayIndex, rays: int) -> PerSample:
    """Rendering weight of each sample: w_i = T_i (1 - exp(-tau_i)).

    T_i is the transmittance exp(-sum of tau_j over the earlier samples of the ray). The weights of a ray and its remaining
    transmittance sum to 1. Differentiable once in `optical_depth`.

    Args:
        optical_depth: tau, density times the length of the sample's interval.
        ray_index: the ray of each sample, ascending.
        rays: number of rays, those without samples included.

    Returns:
        One weight per sample.

    Example:
        >>> import torch
        >>> weights = packed_weights(torch.tensor([0.7, 0.7, 100.0]), torch.tensor([0, 0, 2]), rays=3)
        >>> [round(w, 2) for w in weights.tolist()]
        [0.5, 0.25, 1.0]
    """
    return _Weights.apply(optical_depth, ray_index, rays)


def weighted_sums(weights: PerSample, values: Values, ray_index: RayIndex, rays: int) -> Float[Tensor, "{rays} C"]:
    """Sum of weight times value over the samples of each ray, 0 for rays without samples. Differentiable once.

    Args:
        weights: rendering weights, as of `packed_weights`.
        values: what is accumulated: colours, distances, or ones for the opacity.
        ray_index: the ray of each sample, ascending.
        rays: number of rays.

    Returns:
        One row per ray.

    Example:
        >>> import torch
        >>> weighted_sums(torch.tensor([0.5, 0.25]), torch.ones(2, 1), torch.tensor([1, 1]), rays=2).tolist()
        [[0.0], [0.75]]
    """
    return _Sums.apply(weights, values, ray_index, rays)


def composite(
    optical_depth: PerSample, values: Values, distances: PerSample, ray_index: RayIndex, rays: int
) -> tuple[Sums, PerSample]:
    """Weighted sums of the values, of 1 and of the distances over each ray; and the weights. Differentiable once.

    `packed_weights` and `weighted_sums` in one pass where the backend has one.

    Args:
        optical_depth: tau, density times the length of the sample's interval.
        values: what is accumulated beside opacity and depth.
        distances: of the samples along their rays; not differentiated.
        ray_index: the ray of each sample, ascending.
        rays: number of rays.

    Returns:
        One row per ray: sums of the values, opacity, depth. And one weight per sample.

    Example:
        >>> import torch
        >>> opaque, ray_index = torch.tensor([100.0, 100.0]), torch.tensor([1, 1])
        >>> sums, weights = composite(opaque, torch.tensor([[0.5], [9.0]]), torch.tensor([2.0, 3.0]), ray_index, rays=2)
        >>> sums.tolist(), weights.tolist()
        ([[0.0, 0.0, 0.0], [0.5, 1.0, 2.0]], [1.0, 0.0])
    """
    if hasattr(kernels("composite", values.device), "composite"):
        return _Composite.apply(optical_depth, values, distances, ray_index, rays)
    weights = packed_weights(optical_depth, ray_index, rays)
    columns = torch.cat([values, torch.ones_like(distances)[:, None], distances[:, None]], -1)
    return weighted_sums(weights, columns, ray_index, rays), weights


class _Composite(Function):
    @staticmethod
    @in_float32
    def forward(ctx, optical_depth, values, distances, ray_index, rays):
        backend = kernels("composite", values.device)
        sums, weights, transmittance = backend.composite(optical_depth, values, distances, ray_index, rays)
        ctx.save_for_backward(values, distances, ray_index, weights, transmittance)
        ctx.set_materialize_grads(False)
        return sums, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, for_sums, for_weights):
        backend = kernels("composite", ctx.saved_tensors[0].device)
        for_depth, for_values = backend.composite_backward(for_sums, for_weights, *ctx.saved_tensors)
        return for_depth, for_values, None, None, None


class _Weights(Function):
    @staticmethod
    @in_float32
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
    @in_float32
    def forward(ctx, weights, values, ray_index, rays):
        ctx.save_for_backward(weights, values, ray_index)
        return kernels("composite", weights.device).weighted_sums(weights, values, ray_index, rays)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        backend = kernels("composite", gradient.device)
        for_weights, for_values = backend.weighted_sums_backward(gradient.contiguous(), *ctx.saved_tensors)
        return for_weights, for_values, None, None
