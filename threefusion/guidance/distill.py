"""The only place where a gradient is injected."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def score_distillation_loss(x: Float[Tensor, "B C h w"], gradient: Float[Tensor, "B C h w"]) -> Float[Tensor, ""]:
    """A number whose gradient with respect to `x` is `gradient / B`, exactly; the number itself means nothing.

    `sum(x · g) / B` rather than `½‖x - sg(x - g)‖² / B`: the same on paper, but the second subtracts nearly equal numbers, which
    in float16 leaves no correct digit. It is an ordinary product, so loss weights and gradient scalers reach it.
    """
    return (x.float() * gradient.detach().float()).sum() / x.shape[0]


def clean_gradient(
    gradient: Float[Tensor, "B C h w"], largest: float | None = None
) -> tuple[Float[Tensor, "B C h w"], dict[str, Float[Tensor, ""]]]:
    """The gradient with non-finite elements at 0 and, if asked for, every element clipped to ±`largest`; and what was found.

    The metrics are `grad_norm`, the mean over views of the norm before clipping, and `grad_nonfinite`, the share of elements
    that were not finite: anything but 0 there means that a half-precision network overflows.
    """
    finite = gradient.isfinite()
    gradient = torch.where(finite, gradient, torch.zeros_like(gradient))
    metrics = {"grad_norm": gradient.flatten(1).norm(dim=1).mean(), "grad_nonfinite": 1 - finite.float().mean()}
    return (gradient if largest is None else gradient.clamp(-largest, largest)), metrics
