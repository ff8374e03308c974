"""Exact renderings of toy objects: cameras, geometry buffers from rasterized meshes, shading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, radians

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

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


def look_at(position: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"]) -> Float[Tensor, "B 4 4"]:
    """Camera-to-world matrices, OpenGL axes, +z up."""
    back = normalize(position - target, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(back)
    right = normalize(torch.cross(up, back, dim=-1), dim=-1)
    c2w = torch.eye(4).repeat(len(position), 1, 1)
    c2w[:, :3, :3] = torch.stack([right, torch.cross(back, right, dim=-1), back], -1)
    c2w[:, :3, 3] = position
    return c2w


def orbit(
    azimuth: Float[Tensor, "B"],
    elevation: Float[Tensor, "B"],
    distance: Float[Tensor, "B"],
    fovy: Float[Tensor, "B"],
    size: int,
    target: Float[Tensor, "B 3"] | None = None,
) -> Cameras:
    """Square cameras that look at `target` (default: the origin). Angles in radians."""
    target = torch.zeros(len(azimuth), 3) if target is None else target
    direction = torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)
    c2w = look_at(direction * distance[:, None] + target, target)
    wrapped = pi - torch.remainder(pi - azimuth, 2 * pi)
    return Cameras(c2w, fovy, wrapped, elevation, distance, size, size)


def scoring_cameras(
    size: int = 96, views: int = 24, elevations: tuple[float, ...] = (0.0, 15.0, 30.0), scale: float = 1.0
) -> Cameras:
    """Cameras of the scores: uniform azimuths from the front, cycling elevations (degrees), distance 2, field of view 45 degrees.

    Lengths are multiplied by `scale`.
    """
    azimuth = torch.arange(views) * (2 * pi / views)
    elevation = torch.tensor([radians(elevations[i % len(elevations)]) for i in range(views)])
    cameras = orbit(azimuth, elevation, torch.full((views,), 2.0 * scale), torch.full((views,), radians(45.0)), size)
    return replace(cameras, near=cameras.near * scale, far=cameras.far * scale)


def random_cameras(count: int, size: int, generator: torch.Generator) -> Cameras:
    """Cameras of the training data: elevation -10 to 45 degrees, a quarter of them 45 to 80; slightly off centre.

    One in eight is from a wider range that includes the camera presets: elevation up to 90 degrees, distance 1.4 to 2.6, field of
    view up to 65 degrees, the object's ball at most 1.15 times the frame.
    """

    def uniform(low: float | int, high: float | int, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    azimuth = uniform(-pi, pi)
    steep = uniform(0, 1) < 0.25
    elevation = torch.where(steep, uniform(radians(45), radians(80)), uniform(radians(-10), radians(45)))
    distance, fovy = uniform(1.7, 2.2), uniform(radians(38), radians(52))
    wide = uniform(0, 1) < 0.125
    elevation = torch.where(wide, uniform(radians(-10), radians(90)), elevation)
    distance = torch.where(wide, uniform(1.4, 2.6), distance)
    closest = 2 * (0.7 / 1.15 / distance).atan()
    fovy = torch.where(wide, torch.maximum(uniform(radians(32), radians(65)), closest), fovy)
    return orbit(azimuth, elevation, distance, fovy, size, target=uniform(-0.04, 0.04, 3))


def clip_coordinates(points: Float[Tensor, "V 3"], cameras: Cameras) -> Float[Tensor, "B V 4"]:
    """OpenGL clip coordinates of world points in every camera."""
    c2w = cameras.c2w
    local = (points[None] - c2w[:, None, :3, 3]) @ c2w[:, :3, :3]
    focal = 1 / (cameras.fovy / 2).tan()[:, None]
    near, far = cameras.near, cameras.far
    depth = local[..., 2] * (-(far + near) / (far - near)) - 2 * far * near / (far - near)
    return torch.stack([local[..., 0] * focal * cameras.height / cameras.width, local[..., 1] * focal, depth, -local[..., 2]], -1)


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


def shade(
    albedo: Float[Tensor, "*S 3"],
    normal: Float[Tensor, "*S 3"],
    position: Float[Tensor, "*S 3"],
    light: Float[Tensor, "*L 3"],
    ambient: Float[Tensor, "*A 1"],
) -> Float[Tensor, "*S 3"]:
    """Lambertian colour under one point light: albedo (ambient + (1 - ambient) max(0, n·l)); DreamFusion, eq. 7."""
    toward = normalize(light - position, dim=-1)
    diffuse = (normal * toward).sum(-1, keepdim=True).clamp_min(0)
    return albedo * (ambient + (1 - ambient) * diffuse)
