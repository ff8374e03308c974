"""Initialisation of the density field: a blob around the origin, and activations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function


def dreamfusion_blob(points: Float[Tensor, "N 3"], scale: float, std: float) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
    """scale exp(-r^2 / 2 std^2), and its gradient (DreamFusion, arXiv 2209.14988, with scale 5, std 0.2)."""
    bump = scale * (-0.5 * points.square().sum(-1) / std**2).exp()
    return bump, -points / std**2 * bump[:, None]


def magic3d_blob(points: Float[Tensor, "N 3"], scale: float, std: float) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
    """scale (1 - r / std), and its gradient, 0 at the origin (Magic3D, arXiv 2211.10440, with scale 10, std 0.5)."""
    # norm() is ten times as slow on points that lie coordinate by coordinate in memory
    distance = points.square().sum(-1).sqrt()
    return scale * (1 - distance / std), -scale / std * points / distance.clamp_min(1e-12)[:, None]


def truncated_exp(value: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """exp whose derivative stops growing at exp(15), so that a single overshoot cannot send a run to infinity."""
    return _TruncatedExp.apply(value)


class _TruncatedExp(Function):
    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value.exp()

    @staticmethod
    def backward(ctx, gradient):
        (value,) = ctx.saved_tensors
        return gradient * value.clamp_max(15).exp()


BLOBS = {"dreamfusion": dreamfusion_blob, "magic3d": magic3d_blob}
ACTIVATIONS = {"softplus": torch.nn.functional.softplus, "exp": torch.exp, "trunc-exp": truncated_exp}
