"""Rasterization of surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.camera.projection import camera_rays, clip_coordinates
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, HasSurface
from threefusion.geometry.normals import unit, vertex_normals
from threefusion.ops.antialias import antialias, mesh_edges
from threefusion.ops.precision import in_float32
from threefusion.ops.rasterize import Fragments, interpolate, rasterize
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.shading import shade
from threefusion.types import Cameras, FieldSample, Mesh, Rays, RenderOutput, Scene, ViewBatch, Want

MIN_NORMAL_OPACITY = 0.01
"""Opacity above which a pixel has a normal."""


@dataclass(frozen=True)
class Visible:
    """What the pixels of a batch show of a mesh."""

    clip: Float[Tensor, "B V 4"]
    fragments: Fragments
    pixel: Int[Tensor, "N"]
    """Index, in the flat batch, of the pixels that show a face."""
    empty: Int[Tensor, "R"]
    """Index of the others."""
    points: Float[Tensor, "N 3"]
    normal: Float[Tensor, "N 3"] | None
    """Unit, smooth; None unless wanted."""


class Rasterizer(Renderer):
    """The nearest surface at each pixel's centre, antialiased along silhouettes, over the background.

    The material is evaluated at the surface, at covered pixels only.
    """

    needs: ClassVar[type[Geometry]] = HasSurface

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """Images of the views.

        Raises:
            UserError: samples are wanted, which a surface does not have.
        """
        if want.samples:
            raise UserError("renderer: 'rasterizer' has no samples along rays; leave out the losses that need them")
        mesh, rays = scene.geometry.mesh(), camera_rays(views.camera)
        seen = look(mesh, views.camera, want.normals or scene.material.needs_normal(views.shading))
        foreground = _foreground(scene, seen, rays, views)
        background = scene.background(rays.directions[seen.empty], rays.view_index[seen.empty], views, want.random)
        background = torch.cat([background, background.new_zeros(len(background), foreground.shape[1] - 3)], -1)
        pixels = foreground.new_zeros(len(rays.origins), foreground.shape[1])
        pixels = pixels.index_copy(0, torch.cat([seen.pixel, seen.empty]), torch.cat([foreground, background.to(pixels)]))
        pixels = pixels.view(*seen.fragments.face.shape, -1)
        pixels = antialias(pixels, seen.fragments, seen.clip, mesh.faces, mesh_edges(mesh.faces))
        image, opacity, depth = pixels[..., :3], pixels[..., 3:4], pixels[..., 4:5]
        return RenderOutput(
            image=image,
            opacity=opacity,
            depth=depth,
            normal=None if seen.normal is None else unit(pixels[..., 5:]) * (opacity > MIN_NORMAL_OPACITY),
            mesh=mesh,
            edge_distances=scene.geometry.edge_distances() if want.edge_distances else None,
        )


def look(mesh: Mesh, cameras: Cameras, normals: bool) -> Visible:
    """What the cameras see of a mesh, differentiable in its vertices; with normals if wanted."""
    attributes = [mesh.vertices]
    if normals:
        attributes.append(vertex_normals(mesh) if mesh.normals is None else mesh.normals)
    return _look(torch.cat(attributes, -1), mesh.faces, cameras)


@in_float32
def _look(attributes: Tensor, faces: Tensor, cameras: Cameras) -> Visible:
    """The same, of positions and perhaps normals side by side."""
    clip = clip_coordinates(attributes[:, :3], cameras)
    fragments = rasterize(clip, faces, cameras.height, cameras.width)
    covered = (fragments.face >= 0).reshape(-1)
    pixel = covered.nonzero()[:, 0]
    if len(faces):
        values = interpolate(attributes, faces, fragments).flatten(0, 2).index_select(0, pixel)
    else:
        values = attributes[:0]
    normal = unit(values[:, 3:]) if values.shape[1] > 3 else None
    return Visible(clip, fragments, pixel, (~covered).nonzero()[:, 0], values[:, :3], normal)


def _foreground(scene: Scene, seen: Visible, rays: Rays, views: ViewBatch) -> Float[Tensor, "N C"]:
    """Colour, opacity, depth and, if seen, normal of the covered pixels side by side."""
    direction, view_index = rays.directions[seen.pixel], rays.view_index[seen.pixel]
    field = FieldSample(scene.geometry.features(seen.points), normal=seen.normal, points=seen.points)
    color = shade(scene.material, field, direction, view_index, views).float()
    depth = ((seen.points - rays.origins[seen.pixel]) * direction).sum(-1, keepdim=True)
    columns = [color, torch.ones_like(depth), depth, *([] if seen.normal is None else [seen.normal])]
    return torch.cat(columns, -1)
