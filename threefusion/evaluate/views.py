"""Shaded views of a mesh or a scene for evaluation."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from threefusion.camera.orbit import unlit_views
from threefusion.camera.projection import camera_rays
from threefusion.exporter.fidelity import unlit
from threefusion.exporter.preview import SurfaceViews, rasterised_views
from threefusion.exporter.topology import is_watertight, weld
from threefusion.geometry.normals import vertex_normals
from threefusion.renderer.renderer import Renderer
from threefusion.types import Cameras, Mesh, Scene, Want

BALL = 0.7
"""Radius of the ball framed by the toy world's cameras, which contains its objects."""
BACKGROUND = 0.2
AMBIENT = 0.6
"""With this background, no shaded grey of the toy world's palette equals the background."""
WHITE = 0.9
"""Albedo of textureless views, as in the training images of the toy world."""
SAMPLES = 2
"""Supersampling per axis."""
CHUNK = 8
"""Views rasterized at once."""


def framing(mesh: Mesh) -> float:
    """Camera `scale` at which a mesh appears as large as toy objects do."""
    return max(float(mesh.vertices.norm(dim=-1).max()) / BALL, 1e-6)


def with_normals(mesh: Mesh) -> Mesh:
    """The mesh with vertex normals, computed if missing."""
    return mesh if mesh.normals is not None else replace(mesh, normals=vertex_normals(mesh))


def surface_views(mesh: Mesh, cameras: Cameras) -> SurfaceViews:
    """Rasterize a textured mesh, one sample per pixel."""
    mesh = with_normals(mesh)
    parts = [
        rasterised_views(mesh, cameras.select(index), _is_closed(mesh.vertices, mesh.faces))
        for index in torch.arange(len(cameras)).split(CHUNK)
    ]
    return SurfaceViews(*(torch.cat([getattr(part, name) for part in parts]) for name in ("mask", "base_color", "normal")))


@lru_cache(maxsize=2)
def _is_closed(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> bool:
    """Whether the mesh is watertight, so that back faces can be culled; cached for repeated calls with the same tensors."""
    return is_watertight(weld(Mesh(vertices, faces)))


def shaded_views(mesh: Mesh, cameras: Cameras) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
    """Views of the mesh in colour and textureless, lit from the camera, on grey, with 2 x 2 supersampling.

    The colour is albedo (a + (1 - a) max(0, n·v)) with a = `AMBIENT` and v towards the camera (DreamFusion, eq. 7).
    """
    fine = replace(cameras, height=SAMPLES * cameras.height, width=SAMPLES * cameras.width)
    views = surface_views(mesh, fine)
    color, white = lit_from_camera(views.base_color, views.normal, views.mask, fine)
    return _downsample(color), _downsample(white)


@torch.no_grad()
def shaded_field_views(
    renderer: Renderer, scene: Scene, cameras: Cameras
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
    """Views of a trained scene in colour and textureless, lit and on grey as those of a mesh; no mesh is extracted."""
    parts = []
    for index in torch.arange(len(cameras)).split(CHUNK):
        part = cameras.select(index)
        render = renderer(unlit(scene), unlit_views(part).to(scene.device), Want(normals=True))
        # a renderer without normals: as if all of the surface faced the camera
        normal = -camera_rays(part).directions.view(render.image.shape) if render.normal is None else render.normal.float().cpu()
        parts.append(lit_from_camera(render.image.float().cpu(), normal, render.opacity.float().cpu(), part))
    color, white = zip(*parts, strict=True)
    return torch.cat(color).clamp(0, 1), torch.cat(white).clamp(0, 1)


def lit_from_camera(
    color: Float[Tensor, "B H W 3"], normal: Float[Tensor, "B H W 3"], mask: Float[Tensor, "B H W 1"], cameras: Cameras
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
    """Views in colour and textureless from unlit ones on black, whose `mask` is 1 inside the object."""
    toward = -camera_rays(cameras).directions.view(normal.shape)
    shading = AMBIENT + (1 - AMBIENT) * (normal * toward).sum(-1, keepdim=True).clamp_min(0)
    behind = (1 - mask) * BACKGROUND
    return color * shading + behind, (WHITE * mask * shading + behind).expand_as(color)


def _downsample(image: Float[Tensor, "B h w 3"]) -> Float[Tensor, "B H W 3"]:
    """Average the samples of each pixel."""
    return avg_pool2d(image.permute(0, 3, 1, 2), SAMPLES).permute(0, 2, 3, 1)
