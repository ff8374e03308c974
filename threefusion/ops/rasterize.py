"""Triangle rasterization: the nearest face at each pixel centre, and its barycentric coordinates there.

Visibility is not differentiable; `barycentrics` and `interpolate` are, in vertex positions and attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32

DEPTH_STEPS = (1 << 31) - 1
"""Depth is quantised to 31 bits and stored above the 32-bit face id, so equal depths are resolved by the lower id."""
EMPTY = torch.iinfo(torch.int64).max
"""Depth-buffer word of a pixel without a face."""


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
        faces: vertex indices. Faces that reach behind the camera are dropped, not clipped.
        height: rows of the image.
        width: columns of the image.
        cull: skip back faces (clockwise on screen): correct for closed meshes with outward winding, and about twice as fast.

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
        face = torch.stack([_visible_face(view, faces, height, width, cull) for view in clip])
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


def _visible_face(clip: Float[Tensor, "V 4"], faces: Int[Tensor, "F 3"], height: int, width: int, cull: bool) -> Tensor:
    """Nearest face of one view, [H W]."""
    corners, face_ids = _screen_corners(clip, faces, height, width, cull)
    return kernels("rasterize", clip.device).nearest_face(corners, face_ids, height, width)


def _screen_corners(clip: Tensor, faces: Tensor, height: int, width: int, cull: bool) -> tuple[Tensor, Tensor]:
    """Pixel coordinates and depth [F' 3 3] of the potentially visible faces, and their ids."""
    # float64: pixel-exact edges need more than 24 bits once coordinates are multiplied
    clip = clip.double()
    w = clip[:, 3]
    xy = clip[:, :2] / w[:, None].clamp_min(1e-9)
    screen = torch.stack([(xy[:, 0] + 1) * (width / 2), (1 - xy[:, 1]) * (height / 2), clip[:, 2] / w.clamp_min(1e-9)], -1)
    corners = screen[faces]
    area = edge(corners[:, 0], corners[:, 1], corners[:, 2])
    # y points down on screen, so counter-clockwise faces have a negative area
    keep = (w[faces] > 1e-9).all(-1) & (area < 0 if cull else area != 0)
    keep &= (corners[..., 2].amin(1) <= 1) & (corners[..., 2].amax(1) >= -1)
    return corners[keep], keep.nonzero()[:, 0]


def edge(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Twice the signed area of a triangle on screen.

    Example:
        >>> edge(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item()
        1.0
    """
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


@in_float32
def barycentrics(
    clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], face: Int[Tensor, "B H W"]
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """Perspective-correct barycentric coordinates and depth of each pixel's face, differentiable in `clip`.

    Example:
        >>> clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
        >>> weights, depth = barycentrics(clip, torch.tensor([[0, 1, 2]]), torch.zeros(1, 1, 1, dtype=torch.int64))
        >>> weights.tolist(), depth.tolist()
        ([[[[0.5, 0.25, 0.25]]]], [[[0.0]]])
    """
    batch, height, width = face.shape
    b, y, x = (face >= 0).nonzero(as_tuple=True)
    corners = clip[b[:, None], faces[face[b, y, x]]]
    ndc = torch.stack([(2 * x + 1) / width - 1, 1 - (2 * y + 1) / height], -1).to(clip.dtype)
    # homogeneous corners relative to the pixel: the barycentric coordinates are ratios of 2 x 2 determinants
    p = corners[..., :2] - ndc[:, None] * corners[..., 3:]
    q, r = p.roll(-1, 1), p.roll(-2, 1)
    raw = q[..., 0] * r[..., 1] - q[..., 1] * r[..., 0]
    total = raw.sum(-1, keepdim=True)
    visible = raw / torch.where(total.abs() < 1e-20, 1e-20, total)
    weights = clip.new_zeros(batch, height, width, 3).index_put((b, y, x), visible)
    point = (visible[..., None] * corners).sum(1)
    depth = clip.new_ones(batch, height, width).index_put((b, y, x), point[:, 2] / point[:, 3])
    return weights, depth


def interpolate(attributes: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"], fragments: Fragments) -> Float[Tensor, "B H W C"]:
    """Vertex attributes interpolated at the fragments, 0 for the background."""
    corners = attributes[faces[fragments.face.clamp_min(0)]]
    return (fragments.barycentric[..., None] * corners).sum(-2)
