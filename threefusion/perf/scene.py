"""The fixed scene of the measurements."""

from __future__ import annotations

from math import pi, radians, sqrt

import torch

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import cameras_around
from threefusion.camera.projection import camera_rays
from threefusion.geometry.encoding.settings import HashGridConfig
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.material.settings import DiffuseConfig
from threefusion.ops.grid import Grid, hash_levels
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.sampler.sampler import ball_interval
from threefusion.renderer.sampler.settings import OccupancyConfig
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import Lights, Scene, Shading, ViewBatch

SEED = 0
DISTANCE, FOVY_DEG, ELEVATION_DEG, AZIMUTH_DEG = 3.2, 20.0, 20.0, 45.0
RADIUS = sqrt(3)
"""Of the ball that rays are marched through: the one round the cube [-1, 1]^3."""
BALL = 0.6
"""Radius of what is in it."""
STEPS = 64
"""Along the diameter of the outer ball."""
CELLS = 64
"""A side of the occupancy grid."""
LEVELS, FEATURES, LOG2_ROWS, BASE, GROWTH = 16, 2, 15, 16, 1.447
HIDDEN, OUTPUTS = 64, 4
"""The field's network: 32-64-4, a density and three colour features."""
GRID = Grid(hash_levels(LEVELS, LOG2_ROWS, BASE, GROWTH), FEATURES)


def fixed_views(batch: int, resolution: int, device: torch.device, shading: Shading = Shading.ALBEDO) -> ViewBatch:
    """`batch` cameras evenly round the scene, the first at an azimuth of 45 degrees, each with its light beside it."""
    azimuth = radians(AZIMUTH_DEG) + 2 * pi * torch.arange(batch) / batch
    camera = cameras_around(azimuth, radians(ELEVATION_DEG), DISTANCE, radians(FOVY_DEG), (resolution, resolution))
    light = Lights(camera.position, torch.full((batch, 3), 0.9), torch.full((batch, 3), 0.1))
    return ViewBatch(camera, light, torch.full((batch,), int(shading)), 0, torch.arange(batch), SEED).to(device)


def fixed_scene(device: torch.device) -> tuple[Scene, Renderer]:
    """The field with an occupancy grid that holds the cells whose middle is in the ball; white behind it."""
    grid = {"levels": LEVELS, "features": FEATURES, "log2_table_size": LOG2_ROWS, "base_resolution": BASE, "growth": GROWTH}
    encoding = HashGridConfig(**grid)
    sampler = OccupancyConfig(samples_per_ray=STEPS, resolution=CELLS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        material = build(DiffuseConfig())
        field = DensityFieldConfig(radius=RADIUS, encoding=encoding, hidden_width=HIDDEN)
        scene = Scene(build(field, BuildContext(material.feature_width)), material, build(SolidConfig()))
        renderer = build(VolumeConfig(sampler=sampler))
    square = (((torch.arange(CELLS) + 0.5) * (2 / CELLS) - 1) * RADIUS).square()
    inside = square[:, None, None] + square[:, None] + square < BALL**2
    renderer.sampler.occupied.copy_(inside.flatten())
    return scene.to(device), renderer.to(device)


def march_steps(views: ViewBatch) -> int:
    """Steps inside the outer ball, over all rays."""
    near, far = ball_interval(camera_rays(views.camera), RADIUS, views.camera.near)
    return int(((far - near) * STEPS / (2 * RADIUS)).sum())
