"""Visibility by nvdiffrast, whose licence is non-commercial. Not tested on a GPU yet.

It supplies the ids of the faces only; coordinates and gradients are ours.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.machine.optional import require
from threefusion.ops.torch_kernels.rasterize import barycentrics, barycentrics_backward

__all__ = ["barycentrics", "barycentrics_backward", "nearest_face"]


def nearest_face(
    clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int, cull: bool
) -> Int[Tensor, "B H W"]:
    """Id of the nearest face at each pixel centre, -1 for the background."""
    out = torch.full((len(clip), height, width), -1, device=clip.device)
    for seen, view in zip(out, clip, strict=True):
        # nvdiffrast does not cull
        front = torch.linalg.det(view[faces][..., [0, 1, 3]]) > 0 if cull else torch.ones_like(faces[:, 0], dtype=torch.bool)
        kept = front.nonzero()[:, 0]
        if len(kept):
            context, triangles = _context(clip.device), faces[kept].int().contiguous()
            buffer, _ = _package().rasterize(context, view[None].float(), triangles, (height, width), grad_db=False)
            # the id plus one; row 0 is at the bottom
            ids = buffer[0, ..., 3].flip(0).long() - 1
            seen.copy_(torch.where(ids < 0, -1, kept[ids.clamp_min(0)]))
    return out


@lru_cache(maxsize=8)
def _context(device: torch.device) -> Any:
    return _package().RasterizeCudaContext(device)


def _package() -> ModuleType:
    require("nvdiffrast")
    return import_module("nvdiffrast.torch")
