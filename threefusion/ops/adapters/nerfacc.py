"""Compositing by nerfacc 0.5. Not tested on a GPU yet, and nerfacc's packed functions require one.

Marching stays in torch: nerfacc accumulates steps along the ray, so its midpoints round differently from `threefusion.ops.march`.
"""

from __future__ import annotations

import torch

from threefusion.machine.optional import require
from threefusion.ops.composite import PerRay, PerSample, RayIndex, Values
from threefusion.ops.torch_kernels.composite import weighted_sums_backward

__all__ = ["weighted_sums", "weighted_sums_backward", "weights", "weights_backward"]


def weights(optical_depth: PerSample, ray_index: RayIndex, rays: int) -> tuple[PerSample, PerSample]:
    """Weight of each sample, and transmittance in front of it; less precise than our kernels for small optical depths."""
    ends = torch.ones_like(optical_depth)
    render = require("nerfacc").render_weight_from_density
    return render(torch.zeros_like(ends), ends, optical_depth, ray_indices=ray_index, n_rays=rays)[:2]


def weights_backward(
    gradient: PerSample, weights: PerSample, transmittance: PerSample, ray_index: RayIndex, rays: int
) -> PerSample:
    """Gradient with respect to the optical depth."""
    nerfacc = require("nerfacc")
    with torch.enable_grad():
        # the sum over later samples is the gradient of the sum over earlier ones
        earlier = torch.zeros_like(weights).requires_grad_()
        before = nerfacc.exclusive_sum(earlier, nerfacc.pack_info(ray_index, rays))
    (after,) = torch.autograd.grad(before, earlier, gradient * weights)
    return gradient * (transmittance - weights) - after


def weighted_sums(weights: PerSample, values: Values, ray_index: RayIndex, rays: int) -> PerRay:
    """Sums over the samples of each ray."""
    return require("nerfacc").accumulate_along_rays(weights, values, ray_index, rays)
