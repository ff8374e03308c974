"""Unit normals from gradients and from faces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.ops.precision import in_float32
from threefusion.types import Mesh

_SMALLEST = 1e-4


def downhill(gradient: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """-g / |g|, and 0 with a zero derivative where the gradient all but vanishes (|g| < 1e-4)."""
    square = gradient.square().sum(-1, keepdim=True)
    enough = square > _SMALLEST**2
    # the inner choice keeps the derivative of the branch not taken finite
    length = torch.where(enough, square, torch.ones_like(square)).sqrt()
    return torch.where(enough, -gradient / length, torch.zeros_like(gradient))


def unit(vectors: Float[Tensor, "*S 3"]) -> Float[Tensor, "*S 3"]:
    """Vectors of unit length; 0, with a zero derivative, where they all but vanish."""
    return _Unit.apply(vectors)


class _Unit(Function):
    """In fewer passes than torch's derivative of `downhill`; differentiable once."""

    @staticmethod
    def forward(ctx, vectors):
        x, y, z = vectors.unbind(-1)
        length = (x * x + y * y + z * z).sqrt_()[..., None]
        inverse = torch.where(length > _SMALLEST, 1 / length, 0)
        out = vectors * inverse
        ctx.save_for_backward(out, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        out, inverse = ctx.saved_tensors
        x, y, z = (out * gradient).unbind(-1)
        return (gradient - out * (x + y + z)[..., None]) * inverse


@in_float32  # differences of half-precision numbers are all rounding
def central_gradient(
    function: Callable[[Tensor], Tensor], points: Float[Tensor, "N 3"], step: float | Tensor
) -> Float[Tensor, "N 3"]:
    """Central differences of a scalar function of points, six evaluations in one call."""
    offsets = step * torch.eye(3, device=points.device, dtype=points.dtype)
    around = torch.cat([points[:, None] + offsets, points[:, None] - offsets], 1).reshape(-1, 3)
    ahead, behind = function(around).reshape(-1, 2, 3).unbind(1)
    return (ahead - behind) / (2 * step)


def vertex_normals(mesh: Mesh) -> Float[Tensor, "V 3"]:
    """Unit normals at the vertices: face normals weighted by area; upwards at vertices without area."""
    a, b, c = (mesh.vertices.index_select(0, corner) for corner in mesh.faces.unbind(1))
    area = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(mesh.vertices)
    for corner in mesh.faces.unbind(1):
        total = total.index_add(0, corner, area)
    upward = total.new_tensor([0.0, 0.0, 1.0]).expand_as(total)
    length = total.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-20, total / length.clamp_min(1e-20), upward)
