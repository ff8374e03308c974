"""Triangle visibility: which face a pixel's centre sees first, and where on it.

Visibility has no gradient; `barycentrics` and `interpolate` do, so gradients reach vertices and attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.backend import kernels

DEPTH_STEPS = (1 << 31) - 1
"""Depth is quantised to 31 bits; the low 32 bits of a word hold the face, which decides between faces equally near."""
EMPTY = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees."""

    face: Int[Tensor, "B H W"]
    """Index of the nearest face, -1 where there is none."""
    barycentric: Float[Tensor, "B H W 3"]
    """Perspective-correct weights of the face's corners, 0 where there is no face."""
    depth: Float[Tensor, "B H W"]
    """z / w in [-1, 1] (OpenGL), 1 where there is no face."""


def rasterize(clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int, cull: bool = False) -> Fragments:
    """The nearest face at every pixel's centre, row 0 on top.

    `clip` are homogeneous OpenGL clip coordinates. `cull` skips faces whose corners run clockwise on screen: right for closed
    meshes with outward winding, and about twice as fast. Faces that reach behind the camera are dropped, not clipped.
    """
    with torch.no_grad():
        face = torch.stack([_visible_face(view, faces, height, width, cull) for view in clip])
    weights, depth = barycentrics(clip, faces, face)
    return Fragments(face, weights, depth)


def rasterize_plane(points: Float[Tensor, "V 2"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
    """Visibility of flat triangles, for baking: `points` in [0, 1]², (0, 0) at the bottom left, as texture coordinates are."""
    flat = torch.cat([points * 2 - 1, torch.zeros_like(points[:, :1]), torch.ones_like(points[:, :1])], -1)
    return rasterize(flat[None], faces, height, width)


def _visible_face(clip: Float[Tensor, "V 4"], faces: Int[Tensor, "F 3"], height: int, width: int, cull: bool) -> Tensor:
    """[H W] nearest face of one view."""
    corners, face_ids = _screen_corners(clip, faces, height, width, cull)
    return kernels("rasterize", clip.device).nearest_face(corners, face_ids, height, width)


def _screen_corners(clip: Tensor, faces: Tensor, height: int, width: int, cull: bool) -> tuple[Tensor, Tensor]:
    """Pixel coordinates and depth [F' 3 3] of the faces that can be seen, and their ids."""
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
    """Twice the signed area of a triangle on screen."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def barycentrics(
    clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], face: Int[Tensor, "B H W"]
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """Perspective-correct weights and depth of the seen faces at the pixels' centres, differentiable in `clip`."""
    batch, height, width = face.shape
    b, y, x = (face >= 0).nonzero(as_tuple=True)
    corners = clip[b[:, None], faces[face[b, y, x]]]
    ndc = torch.stack([(2 * x + 1) / width - 1, 1 - (2 * y + 1) / height], -1).to(clip.dtype)
    # corners moved so that the pixel is the origin, still homogeneous: the weights are ratios of 2 x 2 determinants
    p = corners[..., :2] - ndc[:, None] * corners[..., 3:]
    q, r = p.roll(-1, 1), p.roll(-2, 1)
    raw = q[..., 0] * r[..., 1] - q[..., 1] * r[..., 0]
    total = raw.sum(-1, keepdim=True)
    seen = raw / torch.where(total.abs() < 1e-20, 1e-20, total)
    weights = clip.new_zeros(batch, height, width, 3).index_put((b, y, x), seen)
    point = (seen[..., None] * corners).sum(1)
    depth = clip.new_ones(batch, height, width).index_put((b, y, x), point[:, 2] / point[:, 3])
    return weights, depth


def interpolate(attributes: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"], fragments: Fragments) -> Float[Tensor, "B H W C"]:
    """Vertex attributes at the seen points, 0 where there is no face."""
    corners = attributes[faces[fragments.face.clamp_min(0)]]
    return (fragments.barycentric[..., None] * corners).sum(-2)
