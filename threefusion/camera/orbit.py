"""Views evenly spaced around the object: turntables, relighting, previews and evaluation."""

from __future__ import annotations

from dataclasses import replace
from math import asin, pi, radians
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.projection import look_at, sphere_position, wrap_angle
from threefusion.camera.sampler import CameraSampler
from threefusion.types import Cameras, Lights, Shading, ViewBatch

Light = Literal["camera", "orbit"]

ELEVATIONS = (10.0, 45.0, -20.0)
"""Degrees; the views of `views_around` take them in turn."""

AMBIENT = 0.1
"""Ambient part of the light in lit views, as in training (DreamFusion); the point light gives the rest."""


def cameras_around(
    azimuth: Float[Tensor, "B"],
    elevation: Float[Tensor, "B"] | float,
    distance: Float[Tensor, "B"] | float,
    fovy: Float[Tensor, "B"] | float,
    size: tuple[int, int],
    target: Float[Tensor, "B 3"] | None = None,
) -> Cameras:
    """Cameras with images of `size` (height, width) that look at `target`, by default the origin; radians."""
    elevation, distance, fovy = (torch.as_tensor(value).expand_as(azimuth) for value in (elevation, distance, fovy))
    target = torch.zeros(len(azimuth), 3) if target is None else target
    c2w = look_at(sphere_position(azimuth, elevation, distance) + target, target)
    return Cameras(c2w, fovy, wrap_angle(azimuth), elevation, distance, *size)


def orbit_views(
    count: int,
    elevation: float,
    distance: float,
    fovy: float,
    height: int,
    width: int,
    shading: Shading = Shading.ALBEDO,
    light: Light = "camera",
) -> ViewBatch:
    """`count` views from azimuth 0 once round the object, towards +y; radians.

    `light="camera"` puts the light where the camera stands; `"orbit"` leaves the light at the height of 45 degrees and sends it
    once round the object the other way, so that every side is seen under light that moves.
    """
    azimuth = wrap_angle(torch.arange(count) * (2 * pi / count))
    cameras = cameras_around(azimuth, elevation, distance, fovy, (height, width))
    against = sphere_position(-azimuth, torch.full_like(azimuth, pi / 4), cameras.distance)
    lamp = cameras.position if light == "camera" else against
    ambient = torch.full_like(lamp, 1.0 if shading == Shading.ALBEDO else AMBIENT)
    modes = torch.full((count,), int(shading))
    return ViewBatch(cameras, Lights(lamp, 1 - ambient, ambient), modes, step=0, index=torch.arange(count))


def evaluation_orbit(
    camera: CameraSampler, count: int, size: int, shading: Shading = Shading.ALBEDO, light: Light = "camera"
) -> ViewBatch:
    """`count` views round the scene, 15 degrees up, at the mean distance and field of view that the camera sampler draws."""
    drawn = camera.sample(0, 0, torch.arange(64)).camera
    distance, fovy = float(drawn.distance.mean()), float(drawn.fovy.mean())
    return orbit_views(count, radians(15.0), distance, fovy, size, size, shading, light)


def views_around(
    radius: float, count: int, size: int, start: float = 0.0, elevations: tuple[float, ...] = ELEVATIONS
) -> ViewBatch:
    """`count` square unlit views evenly round the object, in which the ball of `radius` just fits.

    The first has an azimuth of `start` intervals; `elevations`, in degrees, alternate.
    """
    azimuth = wrap_angle((torch.arange(count) + start) * (2 * pi / count))
    elevation = torch.tensor(elevations).deg2rad().repeat(count)[:count]
    cameras = cameras_around(azimuth, elevation, 3.0 * radius, 2 * asin(1 / 3), (size, size))
    cameras = replace(cameras, near=1.5 * radius, far=4.5 * radius)
    return unlit_views(cameras)


def unlit_views(cameras: Cameras) -> ViewBatch:
    """The views of these cameras, in albedo."""
    white = torch.ones(len(cameras), 3)
    shading = torch.full((len(cameras),), int(Shading.ALBEDO))
    return ViewBatch(cameras, Lights(cameras.position, 0 * white, white), shading, step=0, index=torch.arange(len(cameras)))
