"""How close a mesh looks to the field it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import asin, radians

import torch
from jaxtyping import Bool, Float
from torch import nn

from threefusion.camera.orbit import orbit_views
from threefusion.exporter.preview import rasterised_views
from threefusion.types import Mesh, Scene, ViewBatch

SEARCH_ELEVATIONS = (15.0, 55.0, -25.0)
"""Degrees; the views in which the surface's level is chosen."""
HELD_OUT_ELEVATIONS = (0.0, 35.0, -15.0)
"""Degrees; the views in which the exported mesh is judged."""


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


def view_ring(radius: float, count: int, elevation_deg: float, size: int) -> ViewBatch:
    """`count` square views round the object in which the ball of `radius` just fits."""
    distance = 3 * radius
    batch = orbit_views(count, radians(elevation_deg), distance, 2 * asin(radius / distance), size, size)
    return replace(batch, camera=replace(batch.camera, near=1.5 * radius, far=4.5 * radius))


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


def compare(mesh: Mesh, views: list[FieldViews]) -> dict[str, float | None]:
    """`silhouette_iou` and `albedo_psnr` (dB, where both show the object; None if nowhere) of the mesh against the field."""
    overlap = union = shared = 0
    error = 0.0
    for view in views:
        surface = rasterised_views(mesh, view.batch.camera)
        covered = surface.mask > 0
        both = covered & view.mask
        overlap += int(both.sum())
        union += int((covered | view.mask).sum())
        shared += 3 * int(both.sum())
        error += float(((surface.base_color - view.albedo) * both).square().sum())
    psnr = -10 * torch.tensor(max(error / shared, 1e-10)).log10().item() if shared else None
    return {"silhouette_iou": overlap / max(union, 1), "albedo_psnr": psnr}
