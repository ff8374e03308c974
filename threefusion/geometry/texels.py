"""Which texels the faces of a mesh have in its textures, and which texel shows at a point of a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.rasterize import rasterize

WRAPS = ("repeat", "clamp", "mirror")
"""What texture coordinates outside [0, 1] mean; a number stands for one of them."""
TILES = 4
"""Copies of a texture along each axis in which texels are looked for: of more, all have the same texels."""


@dataclass(frozen=True)
class Covered:
    """The N texels of one texture that lie under faces or next to one that does, row by row: all that bilinear filters read."""

    index: Int[Tensor, "H W"]
    """For every texel, which of the N it shows; others show the nearest of them, so that coarser filters read nothing else."""
    texel: Int[Tensor, "N"]
    """Where each of the N is in the texture."""
    face: Int[Tensor, "N"]
    weights: Float[Tensor, "N 3"]
    """Barycentric coordinates in that face of the point under the texel, or under the nearest that lies under a face."""
    inside: Bool[Tensor, "N"]
    """Whether it lies under a face itself."""


def covered_texels(corners: Float[Tensor, "F 3 2"], size: tuple[int, int], wrap: tuple[str, str]) -> Covered:
    """The texels under faces with these texture coordinates, v up, in a texture of `size` (height, width).

    A face that holds the centre of no texel has the one under its own middle, if no other face has it.
    """
    face, tiled = _tiles(corners, wrap)
    clip = torch.cat([tiled * 2 - 1, torch.zeros_like(tiled[..., :1]), torch.ones_like(tiled[..., :1])], -1)
    triangles = torch.arange(3 * len(tiled)).view(-1, 3)
    fragments = rasterize(clip.view(1, -1, 4), triangles, *size)
    owner, weights = fragments.face[0].flatten(), fragments.barycentric[0].view(-1, 3)
    known = owner >= 0
    owner = torch.where(known, face[owner.clamp_min(0)], len(corners))
    thin = torch.ones(len(corners), dtype=torch.bool).index_fill(0, owner[known], False).nonzero()[:, 0]
    texel = texels_at(corners[thin].mean(1), torch.tensor(size).expand(len(thin), 2), wraps_of(wrap).expand(len(thin), 2))[0][
        :, 0
    ]
    free = ~known[texel]
    # of several faces the first, in any order of execution
    owner = owner.scatter_reduce(0, texel[free], thin[free], "amin")
    weights = torch.where(known[:, None], weights, 1 / 3)
    inside = (owner < len(corners)).view(size)
    texel = torch.from_numpy(scipy.ndimage.binary_dilation(inside.numpy(), np.ones((3, 3)))).flatten().nonzero()[:, 0]
    read = torch.zeros_like(inside).flatten().index_fill(0, texel, True).view(size)
    nearest = inside.flatten().nonzero()[:, 0][nearest_known(inside).flatten()[texel]]
    return Covered(nearest_known(read), texel, owner[nearest], weights[nearest], inside.flatten()[texel])


def _tiles(corners: Float[Tensor, "F 3 2"], wrap: tuple[str, str]) -> tuple[Int[Tensor, "T"], Float[Tensor, "T 3 2"]]:
    """Faces, each once in every copy of the texture that it reaches, and their coordinates in that copy."""
    face, tiled = torch.arange(len(corners)), corners
    for axis, mode in enumerate(wrap):
        if mode == "clamp":
            continue
        values = tiled[..., axis]
        low = values.amin(1).floor()
        copies = (values.amax(1).ceil() - low).clamp(1, TILES).long()
        repeated = torch.repeat_interleave(torch.arange(len(tiled)), copies)
        tile = low[repeated] + torch.arange(len(repeated)) - (copies.cumsum(0) - copies)[repeated]
        inside = values[repeated] - tile[:, None]
        if mode == "mirror":
            inside = torch.where((tile % 2 == 1)[:, None], 1 - inside, inside)
        face, tiled = face[repeated], tiled[repeated].index_copy(2, torch.tensor([axis]), inside[..., None])
    return face, tiled


def nearest_known(known: Bool[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """The number, among the known texels, of the known texel nearest to each.

    >>> nearest_known(torch.tensor([[True, False, False, True]])).tolist()
    [[0, 0, 1, 1]]
    """
    number = known.flatten().cumsum(0).view(known.shape) - 1
    rows, columns = scipy.ndimage.distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return number[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def wraps_of(wrap: Sequence[str]) -> Int[Tensor, "2"]:
    """The wrapping along u and v as numbers."""
    return torch.tensor([WRAPS.index(mode) for mode in wrap])


def texels_at(
    uv: Float[Tensor, "P 2"], size: Int[Tensor, "P 2"], wrap: Int[Tensor, "P 2"]
) -> tuple[Int[Tensor, "P 4"], Float[Tensor, "P 4"]]:
    """The four texels round each point, counted row by row in its own texture, and their bilinear weights, the largest first."""
    height, width = size.unbind(-1)
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = x.floor(), y.floor()
    right_share, low_share = x - left, y - top
    columns = [_wrapped(left.long() + step, width, wrap[:, 0]) for step in (0, 1)]
    rows = [_wrapped(top.long() + step, height, wrap[:, 1]) for step in (0, 1)]
    texel = torch.stack([row * width + column for row in rows for column in columns], -1)
    across, down = torch.stack([1 - right_share, right_share], -1), torch.stack([1 - low_share, low_share], -1)
    weights, order = (down[:, :, None] * across[:, None]).flatten(1).sort(stable=True, dim=-1, descending=True)
    return texel.gather(1, order), weights


def _wrapped(position: Int[Tensor, "P"], count: Int[Tensor, "P"], mode: Int[Tensor, "P"]) -> Int[Tensor, "P"]:
    """A row or column in a texture of `count` of them."""
    twice = position.remainder(2 * count)
    mirrored = torch.where(twice < count, twice, 2 * count - 1 - twice)
    clamped = position.minimum(count - 1).clamp_min(0)
    return torch.where(mode == 0, position.remainder(count), torch.where(mode == 1, clamped, mirrored))
