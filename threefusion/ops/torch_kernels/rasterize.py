"""Rasterization in torch.

Each face is expanded into one fragment per pixel of its bounding box. Fragments outside the face are dropped, and the nearest is
selected by a `scatter_reduce` minimum over 64-bit words with the depth above the face id.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.rasterize import DEPTH_STEPS, EMPTY, FRONT, SLACK

CHUNK = 1 << 20
"""Fragments per chunk, to bound memory."""

Faces = Int[Tensor, "F 3"]
Ids = Int[Tensor, "B H W"]
Weights = Float[Tensor, "B H W 3"]


def nearest_face(clip: Float[Tensor, "B V 4"], faces: Faces, height: int, width: int, cull: bool) -> Ids:
    """Id of the nearest face at each pixel centre, -1 for the background; `clip` is float64."""
    buffer = torch.full((len(clip), height * width), EMPTY, dtype=torch.int64, device=clip.device)
    for words, view in zip(buffer, clip, strict=True):
        low, extent = _boxes(view, faces, height, width)
        for part in _chunks(extent.prod(-1)):
            _draw(words, view[faces[part]], part, low[part], extent[part], (height, width, cull))
    return torch.where(buffer == EMPTY, -1, buffer & 0xFFFFFFFF).view(-1, height, width)


def _boxes(clip: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """First pixel (x, y) and extent of each face, [F 2]: its bounding box, or the whole view if it reaches behind the camera."""
    xyz, w = clip[:, :3], clip[:, 3:]
    front = (w > FRONT)[faces].all(1)
    screen = (0.5 + xyz[:, :2] / w.clamp_min(FRONT) * clip.new_tensor([0.5, -0.5])) * clip.new_tensor([width, height])
    corners, limit = screen[faces], clip.new_tensor([width - 1, height - 1])
    low = torch.where(front, (corners.amin(1) - (0.5 + SLACK)).ceil().clamp_min(0), 0.0)
    high = torch.where(front, (corners.amax(1) - (0.5 - SLACK)).floor().minimum(limit), limit)
    in_view = ((xyz <= w)[faces].any(1) & (xyz >= -w)[faces].any(1)).all(-1, keepdim=True)
    extent = torch.where(in_view, (high - low + 1).clamp_min(0), 0.0)
    return low.long(), extent.long()


def _chunks(count: Tensor) -> list[Tensor]:
    """Indices of faces with fragments, in groups of about CHUNK fragments; a face is never split."""
    faces = count.nonzero()[:, 0]
    group = (count[faces].cumsum(0) - 1) // CHUNK
    sizes = torch.bincount(group).tolist() if len(faces) else []
    return [part for part in faces.split(sizes) if len(part)]


def _draw(words: Tensor, corners: Tensor, face_ids: Tensor, low: Tensor, extent: Tensor, view: tuple[int, int, bool]) -> None:
    """Rasterize some faces into the depth buffer of one view."""
    height, width, cull = view
    count = extent.prod(-1)
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    rank = torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]
    x = low[owner, 0] + rank % extent[owner, 0]
    y = low[owner, 1] + rank // extent[owner, 0]
    corners = corners[owner]
    raw = torch.stack(_Seen.at(corners, x, y, height, width).raw)
    scale = _sum(raw, corners[..., 3].t())
    depth = _sum(raw, corners[..., 2].t()) / scale
    # back faces have negative weights and a negative sum, degenerate faces no depth
    hit = (raw * scale >= 0).all(0) & (depth.abs() <= 1)
    if cull:
        hit &= scale > 0
    quantised = ((depth[hit] + 1) * (0.5 * DEPTH_STEPS)).long()
    fragments = (quantised << 32) | face_ids[owner[hit]]
    words.scatter_reduce_(0, y[hit] * width + x[hit], fragments, "amin")


def _sum(raw: Tensor, values: Tensor) -> Tensor:
    """Sum over corners in a fixed order, so that all backends round alike."""
    return raw[0] * values[0] + raw[1] * values[1] + raw[2] * values[2]


class _Seen(NamedTuple):
    """Corners relative to pixel centres, times w."""

    x: Float[Tensor, "3 N"]
    y: Float[Tensor, "3 N"]
    center: tuple[Float[Tensor, "N"], Float[Tensor, "N"]]

    @classmethod
    def at(cls, corners: Float[Tensor, "N 3 4"], x: Tensor, y: Tensor, height: int, width: int) -> _Seen:
        """`corners` of one face per pixel (x, y)."""
        centers = (2 * x.double() + 1) / width - 1, 1 - (2 * y.double() + 1) / height
        x, y, _, w = corners.permute(2, 1, 0)
        return cls(x - centers[0] * w, y - centers[1] * w, centers)

    @property
    def raw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Barycentric coordinates before normalisation."""
        (ax, bx, cx), (ay, by, cy) = self.x, self.y
        return bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


def barycentrics(clip: Float[Tensor, "B V 4"], faces: Faces, face: Ids) -> tuple[Weights, Float[Tensor, "B H W"]]:
    """Barycentric coordinates and depth of each pixel's face."""
    view, y, x = (face >= 0).nonzero(as_tuple=True)
    corners = clip.double()[view[:, None], faces[face[view, y, x]]]
    raw = torch.stack(_Seen.at(corners, x, y, *face.shape[1:]).raw, -1)
    total = raw.sum(-1, keepdim=True)
    visible = raw / torch.where(total == 0, 1, total)
    point = (visible[..., None] * corners).sum(1)
    depth = torch.where(total[:, 0] == 0, 1, point[:, 2] / point[:, 3])
    weights = clip.new_zeros(*face.shape, 3).index_put((view, y, x), visible.to(clip.dtype))
    return weights, clip.new_ones(face.shape).index_put((view, y, x), depth.to(clip.dtype))


def barycentrics_backward(
    for_weights: Weights, for_depth: Float[Tensor, "B H W"], clip: Float[Tensor, "B V 4"], faces: Faces, face: Ids
) -> Float[Tensor, "B V 4"]:
    """Gradient with respect to the clip coordinates."""
    with torch.enable_grad():
        clip = clip.detach().requires_grad_()
        outputs = barycentrics(clip, faces, face)
    return torch.autograd.grad(outputs, clip, (for_weights, for_depth))[0]
