"""Triangle rasterization: the nearest face at each pixel centre, and its barycentric coordinates there.

In homogeneous coordinates (Olano and Greer 1997): with d_k = (x_k - X w_k, y_k - Y w_k), the corners seen from the pixel centre
(X, Y), the barycentric coordinate of corner 0 is d_1 x d_2 over the sum of the three such products. This holds for faces that
reach behind the camera as well, so these need no clipping: the pixels of the part behind it have w <= 0 there. On an edge that
two faces share, their products are exact opposites, so that no pixel falls between them.

Visibility is not differentiable; `barycentrics` and `interpolate` are, in vertex positions and attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32

DEPTH_STEPS = (1 << 31) - 1
"""Depth is quantised to 31 bits and stored above the 32-bit face id, so equal depths are resolved by the lower id."""
EMPTY = torch.iinfo(torch.int64).max
"""Depth-buffer word of a pixel without a face."""
FRONT = 1e-9
"""Smallest w of a vertex that is projected. Faces with a smaller one are tested at every pixel if they reach the view."""
SLACK = 1e-6
"""Added to the bounding box of a face, in pixels, so that rounding of the projection cannot exclude a pixel on its border."""


@dataclass(frozen=True)
class Fragments:
    """Rasterization result per pixel."""

    face: Int[Tensor, "B H W"]
    """Index of the nearest face, -1 for the background."""
    barycentric: Float[Tensor, "B H W 3"]
    """Perspective-correct barycentric coordinates, 0 for the background."""
    depth: Float[Tensor, "B H W"]
    """z / w in [-1, 1] (OpenGL), 1 for the background."""


def rasterize(clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int, cull: bool = False) -> Fragments:
    """Nearest face at every pixel centre, row 0 on top. Differentiable in `clip`, up to visibility.

    Args:
        clip: homogeneous OpenGL clip coordinates of the vertices, per view.
        faces: vertex indices. Faces that reach behind the camera are clipped at the near plane; their barycentric coordinates
            remain those of the whole face.
        height: rows of the image.
        width: columns of the image.
        cull: skip back faces (clockwise on screen): correct for closed meshes with outward winding, and a little faster.

    Returns:
        The fragments of all views.

    Example:
        >>> clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])  # one triangle that covers the screen
        >>> fragments = rasterize(clip, torch.tensor([[0, 1, 2]]), height=2, width=2)
        >>> fragments.face.tolist(), fragments.depth.unique().tolist()
        ([[[0, 0], [0, 0]]], [0.0])
        >>> interpolate(torch.tensor([[0.0], [1.0], [0.0]]), torch.tensor([[0, 1, 2]]), fragments)[0, ..., 0].tolist()
        [[0.125, 0.375], [0.125, 0.375]]
    """
    with torch.no_grad():
        face = kernels("rasterize", clip.device).nearest_face(clip.double(), faces, height, width, cull)
    weights, depth = barycentrics(clip, faces, face)
    return Fragments(face, weights, depth)


def rasterize_plane(points: Float[Tensor, "V 2"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
    """Rasterize triangles in texture space, for baking: `points` are UVs in [0, 1]², (0, 0) at the bottom left.

    Example:
        >>> rasterize_plane(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0, 1, 2]]), 2, 2).face.tolist()
        [[[0, -1], [0, 0]]]
    """
    flat = torch.cat([points * 2 - 1, torch.zeros_like(points[:, :1]), torch.ones_like(points[:, :1])], -1)
    return rasterize(flat[None], faces, height, width)


@in_float32
def barycentrics(
    clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], face: Int[Tensor, "B H W"]
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """Perspective-correct barycentric coordinates and depth of each pixel's face, differentiable once in `clip`.

    Example:
        >>> clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
        >>> weights, depth = barycentrics(clip, torch.tensor([[0, 1, 2]]), torch.zeros(1, 1, 1, dtype=torch.int64))
        >>> weights.tolist(), depth.tolist()
        ([[[[0.5, 0.25, 0.25]]]], [[[0.0]]])
    """
    return _Barycentrics.apply(clip, faces, face)


def interpolate(attributes: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"], fragments: Fragments) -> Float[Tensor, "B H W C"]:
    """Vertex attributes interpolated at the fragments, 0 for the background. Differentiable once in attributes and fragments."""
    return _interpolate(attributes, faces, fragments.face, fragments.barycentric)


@in_float32
def _interpolate(attributes: Tensor, faces: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    dtype = torch.promote_types(attributes.dtype, weights.dtype)
    return _Interpolation.apply(attributes.to(dtype), faces, face, weights.to(dtype))


class _Barycentrics(Function):
    @staticmethod
    def forward(ctx, clip, faces, face):
        weights, depth = kernels("rasterize", clip.device).barycentrics(clip, faces, face)
        ctx.save_for_backward(clip, faces, face)
        return weights, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, for_weights, for_depth):
        backend = kernels("rasterize", for_depth.device)
        return backend.barycentrics_backward(for_weights, for_depth, *ctx.saved_tensors), None, None


class _Interpolation(Function):
    """`sum over corners k of weight_k attributes[vertex_k]`, linear in weights and attributes."""

    @staticmethod
    def forward(ctx, attributes, faces, face, weights):
        ctx.save_for_backward(attributes, faces, face, weights)
        return kernels("interpolate", attributes.device).gather(attributes, faces, face, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        attributes, faces, face, weights = ctx.saved_tensors
        backend = kernels("interpolate", gradient.device)
        for_attributes = backend.scatter(gradient, faces, face, weights, len(attributes)) if ctx.needs_input_grad[0] else None
        for_weights = backend.dot(gradient, attributes, faces, face) if ctx.needs_input_grad[3] else None
        return for_attributes, None, None, for_weights
