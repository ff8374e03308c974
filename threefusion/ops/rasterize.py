"""Triangle visibility in plain torch: which face a pixel's centre sees first, and where on it.

Every face is expanded into the pixels of its bounding box (a *fragment* each), fragments that miss are dropped, and the nearest
survives through one `scatter_reduce` over 64-bit words that hold depth above the face id. Visibility has no gradient;
`barycentrics` and `interpolate` do, so gradients reach vertices and attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 1 << 21
"""Fragments that are in memory at once."""
DEPTH_STEPS = (1 << 31) - 1
"""Depth is quantised to 31 bits; the low 32 bits of a word hold the face."""
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
    device = clip.device
    buffer = torch.full((height * width,), EMPTY, dtype=torch.int64, device=device)
    corners, face_ids = _screen_corners(clip, faces, height, width, cull)
    if len(face_ids):
        low = (corners[..., :2].amin(1) - 0.5).ceil()
        high = (corners[..., :2].amax(1) - 0.5).floor()
        limit = low.new_tensor([width - 1, height - 1])
        low, high = low.clamp_min(0).long(), torch.minimum(high, limit).long()
        extent = (high - low + 1).clamp_min(0)
        count = extent[:, 0] * extent[:, 1]
        for part in _chunks(count):
            _scatter(buffer, corners[part], face_ids[part], low[part], extent[part], width)
    return torch.where(buffer == EMPTY, -1, buffer & 0xFFFFFFFF).view(height, width)


def _screen_corners(clip: Tensor, faces: Tensor, height: int, width: int, cull: bool) -> tuple[Tensor, Tensor]:
    """Pixel coordinates and depth [F' 3 3] of the faces that can be seen, and their ids."""
    # float64: pixel-exact edges need more than 24 bits once coordinates are multiplied
    clip = clip.double()
    w = clip[:, 3]
    xy = clip[:, :2] / w[:, None].clamp_min(1e-9)
    screen = torch.stack([(xy[:, 0] + 1) * (width / 2), (1 - xy[:, 1]) * (height / 2), clip[:, 2] / w.clamp_min(1e-9)], -1)
    corners = screen[faces]
    area = _edge(corners[:, 0], corners[:, 1], corners[:, 2])
    # y points down on screen, so counter-clockwise faces have a negative area
    keep = (w[faces] > 1e-9).all(-1) & (area < 0 if cull else area != 0)
    keep &= (corners[..., 2].amin(1) <= 1) & (corners[..., 2].amax(1) >= -1)
    return corners[keep], keep.nonzero()[:, 0]


def _edge(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Twice the signed area of a triangle on screen."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def _chunks(count: Tensor) -> list[Tensor]:
    """Indices of faces with a fragment, in groups of at most about CHUNK fragments (one face is never split)."""
    faces = count.nonzero()[:, 0]
    group = (count[faces].cumsum(0) - 1) // CHUNK
    sizes = torch.bincount(group).tolist() if len(faces) else []
    return [part for part in faces.split(sizes) if len(part)]


def _scatter(buffer: Tensor, corners: Tensor, face_ids: Tensor, low: Tensor, extent: Tensor, width: int) -> None:
    """Write the words of the fragments of some faces into `buffer` where they are nearest."""
    count = extent[:, 0] * extent[:, 1]
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    rank = torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]
    x = low[owner, 0] + rank % extent[owner, 0]
    y = low[owner, 1] + rank // extent[owner, 0]
    center = torch.stack([x, y], -1) + 0.5
    a, b, c = corners[owner].unbind(1)
    area = _edge(a, b, c)
    weights = torch.stack([_edge(b, c, center), _edge(c, a, center), _edge(a, b, center)], -1) / area[:, None]
    depth = (weights * torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)).sum(-1)
    hit = (weights >= 0).all(-1) & (depth.abs() <= 1)
    quantised = ((depth[hit] + 1) * (0.5 * DEPTH_STEPS)).long()
    words = (quantised << 32) | face_ids[owner[hit]]
    buffer.scatter_reduce_(0, y[hit] * width + x[hit], words, "amin")


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
