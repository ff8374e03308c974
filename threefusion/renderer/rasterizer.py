"""Rasterization of surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from threefusion.camera.projection import camera_rays, clip_coordinates
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, HasSurface
from threefusion.geometry.normals import unit, vertex_normals
from threefusion.ops.antialias import blend, mesh_edges, silhouettes
from threefusion.ops.precision import in_float32
from threefusion.ops.rasterize import Fragments, interpolate, rasterize
from threefusion.renderer.renderer import MIN_NORMAL_OPACITY, Renderer
from threefusion.renderer.shading import shade
from threefusion.types import Cameras, FieldSample, Mesh, RenderOutput, Scene, ViewBatch, Want


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
    face: Int[Tensor, "N"]
    weights: Float[Tensor, "N 3"]
    """Barycentric coordinates of the points."""
    normal: Float[Tensor, "N 3"] | None
    """Unit, smooth; None unless wanted."""


class Rasterizer(Renderer):
    """The nearest surface at each pixel's centre, antialiased along silhouettes, over the background.

    The material is evaluated at the surface, at covered pixels only.
    """

    needs: ClassVar[type[Geometry]] = HasSurface

    def reduce_memory(self) -> None:
        """There are no chunks: what a step keeps are a few images and the points that they show.

        Raises:
            UserError: always.
        """
        advice = "Lower camera.batch_size, camera.height and camera.width, or set renderer={type: patch, base: rasterizer}"
        raise UserError(f"out of memory. {advice}")

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """Images of the views.

        Raises:
            UserError: samples are wanted, which a surface does not have.
        """
        if want.samples:
            raise UserError("renderer: 'rasterizer' has no samples along rays; leave out the losses that need them")
        mesh = scene.geometry.mesh()
        seen = look(mesh, views.camera, want.normals or scene.material.needs_normal(views.shading))
        pixels = _filled(seen, _foreground(scene, seen, views), _background(scene, seen, views, want.random))
        faces = mesh.faces if mesh.welded is None else mesh.welded
        mixed = silhouettes(seen.fragments, seen.clip, faces, mesh_edges(faces))
        # one derivative for all parts: those of slices would each be as large as the whole
        image, opacity, depth, *normal = blend(pixels, mixed).split(
            [scene.material.channels, 1, 1, *([] if seen.normal is None else [3])], -1
        )
        return RenderOutput(
            image=image,
            opacity=opacity,
            depth=depth,
            normal=_unit_again(normal[0], opacity, mixed.into.unique()) if normal else None,
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
    # of covered pixels alone, in one row
    row = Fragments(*(part.flatten(0, 2).index_select(0, pixel)[None, None] for part in vars(fragments).values()))
    values = interpolate(attributes, faces, row)[0, 0] if len(faces) else attributes[:0]
    normal = unit(values[:, 3:]) if values.shape[1] > 3 else None
    empty = (~covered).nonzero()[:, 0]
    return Visible(clip, fragments, pixel, empty, values[:, :3], row.face[0, 0], row.barycentric[0, 0], normal)


def _foreground(scene: Scene, seen: Visible, views: ViewBatch) -> Float[Tensor, "N C"]:
    """Colour, opacity, depth and, if seen, normal of the covered pixels side by side."""
    camera = views.camera
    view_index = seen.pixel // (camera.height * camera.width)
    offset = seen.points - camera.position.index_select(0, view_index)
    depth = offset.norm(dim=-1, keepdim=True)
    features = scene.geometry.surface_features(seen.points, seen.face, seen.weights)
    field = FieldSample(features, normal=seen.normal, points=seen.points)
    color = shade(scene, field, (offset / depth).detach(), view_index, views).float()
    columns = [color, torch.ones_like(depth), depth, *([] if seen.normal is None else [seen.normal])]
    return torch.cat(columns, -1)


def _background(scene: Scene, seen: Visible, views: ViewBatch, random: bool) -> Float[Tensor, "R K"]:
    """Colours of the other pixels."""
    camera = views.camera
    if scene.background.reads_directions:
        directions = camera_rays(camera).directions.index_select(0, seen.empty)
    else:
        directions = camera.c2w.new_zeros(1, 3).expand(len(seen.empty), 3)
    return scene.material.behind(scene.background(directions, seen.empty // (camera.height * camera.width), views, random))


def _filled(seen: Visible, foreground: Float[Tensor, "N C"], background: Float[Tensor, "R K"]) -> Float[Tensor, "B H W C"]:
    """The image of both, empty but for the colour where the background is."""
    background = pad(background.to(foreground), (0, foreground.shape[1] - background.shape[1]))
    pixels = foreground.new_zeros(len(foreground) + len(background), foreground.shape[1])
    pixels.index_copy_(0, torch.cat([seen.pixel, seen.empty]), torch.cat([foreground, background]))
    return pixels.view(*seen.fragments.face.shape, -1)


def _unit_again(
    normal: Float[Tensor, "B H W 3"], opacity: Float[Tensor, "B H W 1"], mixed: Int[Tensor, "N"]
) -> Float[Tensor, "B H W 3"]:
    """Normals of unit length in the pixels that were mixed with others; 0 where hardly anything is seen."""
    flat = normal.reshape(-1, 3)
    seen = opacity.reshape(-1, 1).index_select(0, mixed) > MIN_NORMAL_OPACITY
    return flat.index_copy(0, mixed, unit(flat.index_select(0, mixed)) * seen).view(normal.shape)
