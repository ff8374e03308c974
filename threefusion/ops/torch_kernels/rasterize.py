"""Rasterization in torch.

Each face is expanded into one fragment per pixel of its bounding box. Fragments outside the face are dropped, and the nearest is
selected by a `scatter_reduce` minimum over 64-bit words with the depth above the face id.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.rasterize import DEPTH_STEPS, EMPTY, edge

CHUNK = 1 << 21
"""Fragments per chunk, to bound memory."""


def nearest_face(corners: Float[Tensor, "F 3 3"], face_ids: Int[Tensor, "F"], height: int, width: int) -> Int[Tensor, "H W"]:
    """Id of the nearest face at each pixel centre, -1 for the background.

    `corners` are float64: x and y in pixels (y down), depth in [-1, 1].
    """
    buffer = torch.full((height * width,), EMPTY, dtype=torch.int64, device=corners.device)
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


def _chunks(count: Tensor) -> list[Tensor]:
    """Indices of faces with fragments, in groups of about CHUNK fragments; a face is never split."""
    faces = count.nonzero()[:, 0]
    group = (count[faces].cumsum(0) - 1) // CHUNK
    sizes = torch.bincount(group).tolist() if len(faces) else []
    return [part for part in faces.split(sizes) if len(part)]


def _scatter(buffer: Tensor, corners: Tensor, face_ids: Tensor, low: Tensor, extent: Tensor, width: int) -> None:
    """Rasterize some faces into the depth buffer."""
    count = extent[:, 0] * extent[:, 1]
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    rank = torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]
    x = low[owner, 0] + rank % extent[owner, 0]
    y = low[owner, 1] + rank // extent[owner, 0]
    center = torch.stack([x, y], -1) + 0.5
    a, b, c = corners[owner].unbind(1)
    area = edge(a, b, c)
    weights = torch.stack([edge(b, c, center), edge(c, a, center), edge(a, b, center)], -1) / area[:, None]
    depth = (weights * torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)).sum(-1)
    hit = (weights >= 0).all(-1) & (depth.abs() <= 1)
    quantised = ((depth[hit] + 1) * (0.5 * DEPTH_STEPS)).long()
    words = (quantised << 32) | face_ids[owner[hit]]
    buffer.scatter_reduce_(0, y[hit] * width + x[hit], words, "amin")
