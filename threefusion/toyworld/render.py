"""Exact geometry buffers of toy objects, from rasterized meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, radians

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.camera.orbit import cameras_around
from threefusion.camera.projection import clip_coordinates
from threefusion.ops.rasterize import interpolate, rasterize
from threefusion.toyworld.objects import class_mesh, class_normal, class_paint, class_sdf
from threefusion.types import Cameras


@dataclass(frozen=True)
class Surface:
    """Geometry buffers of one class, without colour and light; 0 where `mask` is false."""

    mask: Bool[Tensor, "B H W"]
    position: Float[Tensor, "B H W 3"]
    normal: Float[Tensor, "B H W 3"]
    fixed: Float[Tensor, "B H W 3"]
    """Albedo of the fixed parts, sRGB."""
    painted: Float[Tensor, "B H W 1"]
    """1 on parts with the caption's colour."""

    def albedo(self, color: Sequence[float]) -> Float[Tensor, "B H W 3"]:
        """Albedo with `color` as the caption's colour."""
        return self.fixed + self.painted * self.fixed.new_tensor(color)


def scoring_cameras(
    size: int = 96, views: int = 24, elevations: tuple[float, ...] = (0.0, 15.0, 30.0), scale: float = 1.0
) -> Cameras:
    """Cameras of the scores: uniform azimuths from the front, cycling elevations (degrees), distance 2, field of view 45 degrees.

    Lengths are multiplied by `scale`.
    """
    azimuth = torch.arange(views) * (2 * pi / views)
    elevation = torch.tensor([radians(elevations[i % len(elevations)]) for i in range(views)])
    cameras = cameras_around(azimuth, elevation, 2.0 * scale, radians(45.0), (size, size))
    return replace(cameras, near=cameras.near * scale, far=cameras.far * scale)


def render_surface(
    name: str, cameras: Cameras, resolution: int = 128, stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Surface:
    """Geometry buffers of a class: rasterized, then moved along the ray onto the exact surface.

    Args:
        name: the class.
        cameras: the views.
        resolution: resolution of the mesh.
        stretch: factors on the object's size along x, y and z.
    """
    vertices, faces = class_mesh(name, resolution)
    factor = vertices.new_tensor(stretch)
    vertices = vertices * factor
    shape = (len(cameras), cameras.height, cameras.width)
    fragments = rasterize(clip_coordinates(vertices, cameras), faces, cameras.height, cameras.width, cull=True)
    mask = fragments.face >= 0
    view = mask.nonzero()[:, 0]
    points = interpolate(vertices, faces, fragments)[mask]
    direction = normalize(points - cameras.position[view], dim=-1)
    with torch.no_grad():
        for _ in range(2):
            # the mesh is within a fraction of a cell of the surface
            distance = min(stretch) * class_sdf(name, points / factor)
            points = points + direction * distance.clamp(-0.01, 0.01)[:, None]
        fixed, painted = class_paint(name, points / factor)
    normal = normalize(class_normal(name, points / factor) / factor, dim=-1)
    values = torch.cat([points, normal, fixed, painted], -1)
    buffer = values.new_zeros(*shape, 10)
    buffer[mask] = values
    return Surface(mask, *buffer.split([3, 3, 3, 1], -1))
