"""Renders of simple shapes in closed form."""

from __future__ import annotations

import torch

from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays
from threefusion.types import RenderOutput, ViewBatch


def circle(count: int = 4, size: int = 32, elevation: float = 0.3) -> ViewBatch:
    """Views all round."""
    return orbit_views(count, elevation=elevation, distance=2.0, fovy=0.8, height=size, width=size)


def sphere(views: ViewBatch, radius: float = 0.5, opacity: float = 1.0) -> RenderOutput:
    """A ball round the origin; the depth is not normalised by opacity."""
    rays, camera = camera_rays(views.camera), views.camera
    along = (rays.origins * rays.directions).sum(-1)
    inside = along**2 - rays.origins.square().sum(-1) + radius**2
    shape = (len(views), camera.height, camera.width, 1)
    seen = opacity * (inside > 0).float().view(shape)
    depth = seen * (-along - inside.clamp(min=0).sqrt()).view(shape)
    return RenderOutput(torch.zeros(*shape[:3], 3), seen, depth)


def plane(views: ViewBatch, distance: float = 2.0) -> RenderOutput:
    """A plane at this distance from each camera, across its view."""
    camera = views.camera
    forward = -camera.c2w[:, :3, 2].repeat_interleave(camera.height * camera.width, 0)
    depth = distance / (camera_rays(camera).directions * forward).sum(-1)
    depth = depth.view(len(views), camera.height, camera.width, 1)
    return RenderOutput(torch.zeros(*depth.shape[:3], 3), torch.ones_like(depth), depth)
