"""Volume rendering on packed samples: emission and absorption along rays (NeRF, arXiv 2003.08934, eq. 3).

The samples of all rays are concatenated, sorted by ray and then by distance; rays without samples cost nothing.
"""

from __future__ import annotations

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
