"""Pictures of a mesh as a judge wants to see them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from threefusion.exporter.preview import SurfaceViews, rasterised_views
from threefusion.exporter.topology import is_watertight, vertex_normals, weld
from threefusion.types import Cameras, Mesh

BALL = 0.7
"""Radius of the ball that the toy world's cameras frame: its objects stay inside it."""
BACKGROUND = 0.2
AMBIENT = 0.6
"""With this background no grey of the toy world's palette, however it is lit, looks like what is behind it."""
WHITE = 0.9
"""Albedo of textureless pictures, as in the toy world's training pictures."""
SAMPLES = 2
"""Rays along each side of a pixel."""
SLICE = 8
"""Views that are rasterised at once."""


def framing(mesh: Mesh) -> float:
    """The `scale` of cameras that see a mesh as large as they see toy objects, for scenes of any size."""
    return max(float(mesh.vertices.norm(dim=-1).max()) / BALL, 1e-6)


def with_normals(mesh: Mesh) -> Mesh:
    """The mesh with normals; those that it has are kept."""
    return mesh if mesh.normals is not None else replace(mesh, normals=vertex_normals(mesh))


def surface_views(mesh: Mesh, cameras: Cameras) -> SurfaceViews:
    """What the cameras see of a textured mesh, one hard sample per pixel."""
    mesh = with_normals(mesh)
    parts = [
        rasterised_views(mesh, cut(cameras, first), _is_closed(mesh.vertices, mesh.faces))
        for first in range(0, len(cameras), SLICE)
    ]
    return SurfaceViews(*(torch.cat([getattr(part, name) for part in parts]) for name in ("mask", "base_color", "normal")))


@lru_cache(maxsize=2)
def _is_closed(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> bool:
    """Whether no face can be seen from behind; asked several times in a row about the same tensors."""
    return is_watertight(weld(Mesh(vertices, faces)))


def cut(cameras: Cameras, first: int, count: int = SLICE) -> Cameras:
    """Some of the cameras."""
    chosen = slice(first, first + count)
    parts = {name: getattr(cameras, name)[chosen] for name in ("c2w", "fovy", "azimuth", "elevation", "distance")}
    return replace(cameras, **parts)


def pictures(mesh: Mesh, cameras: Cameras) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
    """The mesh in its colours and in white, lit from the camera, before a neutral grey; each pixel averages 2 x 2 samples.

    The colour is albedo (a + (1 - a) max(0, n·v)) with a = `AMBIENT` and v towards the camera (DreamFusion, eq. 7).
    """
    fine = replace(cameras, height=SAMPLES * cameras.height, width=SAMPLES * cameras.width)
    views = surface_views(mesh, fine)
    toward = -fine.rays().directions.view(views.normal.shape)
    shading = AMBIENT + (1 - AMBIENT) * (views.normal * toward).sum(-1, keepdim=True).clamp_min(0)
    behind = (1 - views.mask) * BACKGROUND
    lit = views.base_color * shading + behind
    white = (WHITE * views.mask * shading + behind).expand_as(lit)
    return _halved(lit), _halved(white)


def _halved(image: Float[Tensor, "B h w 3"]) -> Float[Tensor, "B H W 3"]:
    """The mean over the samples of each pixel."""
    return avg_pool2d(image.permute(0, 3, 1, 2), SAMPLES).permute(0, 2, 3, 1)
