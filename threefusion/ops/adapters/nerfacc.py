"""Compositing by nerfacc 0.5. Unverified: it has not run on a GPU yet, and nerfacc's packed functions run nowhere else.

Marching stays in torch: nerfacc adds up its steps along the ray one by one and finds cells by their borders, so that its steps
are not bit by bit those of `threefusion.ops.march`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.machine.optional import require
from threefusion.ops.torch_kernels.composite import weighted_sums_backward

__all__ = ["weighted_sums", "weighted_sums_backward", "weights", "weights_backward"]


def weights(
    optical_depth: Float[Tensor, "N"], ray_index: Int[Tensor, "N"], rays: int
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Weights, and the transmittance before each sample; of small optical depths with fewer digits than our own kernels."""
    ends = torch.ones_like(optical_depth)
    found = require("nerfacc").render_weight_from_density(
        torch.zeros_like(ends), ends, optical_depth, ray_indices=ray_index, n_rays=rays
    )
    return found[0], found[1]


def weights_backward(
    gradient: Float[Tensor, "N"],
    weights: Float[Tensor, "N"],
    transmittance: Float[Tensor, "N"],
    ray_index: Int[Tensor, "N"],
    rays: int,
) -> Float[Tensor, "N"]:
    """Gradient in the optical depth."""
    nerfacc = require("nerfacc")
    with torch.enable_grad():
        # the sum over what comes later is the gradient of the sum over what comes before
        earlier = torch.zeros_like(weights).requires_grad_()
        before = nerfacc.exclusive_sum(earlier, nerfacc.pack_info(ray_index, rays))
    (after,) = torch.autograd.grad(before, earlier, gradient * weights)
    return gradient * (transmittance - weights) - after


def weighted_sums(
    weights: Float[Tensor, "N"], values: Float[Tensor, "N C"], ray_index: Int[Tensor, "N"], rays: int
) -> Float[Tensor, "{rays} C"]:
    """Sums over the samples of each ray."""
    return require("nerfacc").accumulate_along_rays(weights, values, ray_index, rays)
