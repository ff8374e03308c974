"""How close a mesh looks to the field it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import asin, log10, pi

import torch
from jaxtyping import Bool, Float
from torch import nn

from threefusion.camera.projection import look_at, sphere_position, wrap_angle
from threefusion.exporter.preview import rasterised_views
from threefusion.types import Cameras, Lights, Mesh, Scene, Shading, ViewBatch

ELEVATIONS = (10.0, 45.0, -20.0)
"""Degrees; taken in turn by the views round the object."""


@dataclass(frozen=True)
class FieldViews:
    """What the volume renderer shows of a scene's unlit colour, without its background."""

    batch: ViewBatch
    opacity: Float[torch.Tensor, "B H W 1"]
    albedo: Float[torch.Tensor, "B H W 3"]
    """Mean colour of what is seen, not weighted by the opacity; meaningless where the opacity is near 0."""

    @property
    def mask(self) -> Bool[torch.Tensor, "B H W 1"]:
        """Where more than half of the ray is absorbed."""
        return self.opacity > 0.5


@contextmanager
def evaluation_mode(scene: Scene) -> Iterator[None]:
    """No jitter and no random background inside, then every module's training flag as it was."""
    parts = [part for root in (scene.geometry, scene.material, scene.background, scene.renderer) for part in root.modules()]
    before = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, flag in zip(parts, before, strict=True):
            part.training = flag


def views_around(
    radius: float, count: int, size: int, start: float = 0.0, elevations: tuple[float, ...] = ELEVATIONS
) -> ViewBatch:
    """`count` square views evenly round the object in which the ball of `radius` just fits, unlit.

    The first stands at `start` intervals from the front; `elevations`, in degrees, alternate.
    """
    azimuth = wrap_angle((torch.arange(count) + start) * (2 * pi / count))
    elevation = torch.tensor(elevations).deg2rad().repeat(count)[:count]
    distance = torch.full((count,), 3.0 * radius)
    position = sphere_position(azimuth, elevation, distance)
    fovy = torch.full((count,), 2 * asin(1 / 3))
    c2w = look_at(position, torch.zeros_like(position))
    cameras = Cameras(c2w, fovy, azimuth, elevation, distance, size, size, near=1.5 * radius, far=4.5 * radius)
    white = torch.ones_like(position)
    unlit = torch.full((count,), int(Shading.ALBEDO))
    return ViewBatch(cameras, Lights(position, 0 * white, white), unlit, step=0, index=torch.arange(count))


@torch.no_grad()
def field_views(scene: Scene, batch: ViewBatch) -> FieldViews:
    """The field in the given views, on the CPU; call inside `evaluation_mode`."""
    moved = batch.to(device_of(scene.geometry))
    render = scene.renderer(moved)
    rays = moved.camera.rays()
    behind = scene.background(rays.directions, rays.view_index, moved).view(render.image.shape)
    front = render.image - (1 - render.opacity) * behind
    albedo = front / render.opacity.clamp_min(1e-3)
    return FieldViews(batch, render.opacity.float().cpu(), albedo.clamp(0, 1).float().cpu())


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU if it has none."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def compare(mesh: Mesh, field: FieldViews) -> dict[str, float | None]:
    """`silhouette_iou` and `albedo_psnr` (dB, where both show the object; None if nowhere) of the mesh against the field."""
    surface = rasterised_views(mesh, field.batch.camera)
    covered = surface.mask > 0
    both = covered & field.mask
    overlap = int(both.sum()) / max(int((covered | field.mask).sum()), 1)
    if not both.any():
        return {"silhouette_iou": overlap, "albedo_psnr": None}
    error = float((surface.base_color - field.albedo)[both[..., 0]].square().mean())
    return {"silhouette_iou": overlap, "albedo_psnr": -10 * log10(max(error, 1e-10))}
