"""Views evenly spaced around the object: turntables, relighting, previews and evaluation."""

from __future__ import annotations

from math import asin, pi, radians
from typing import Literal

import torch

from threefusion.camera.projection import look_at, sphere_position, wrap_angle
from threefusion.camera.sampler import CameraSampler
from threefusion.types import Cameras, Lights, Shading, ViewBatch

ELEVATIONS = (10.0, 45.0, -20.0)
"""Degrees; the views of `views_around` take them in turn."""

AMBIENT = 0.1
"""Ambient part of the light in lit views, as in training (DreamFusion); the point light gives the rest."""


def orbit_views(
    count: int,
    elevation: float,
    distance: float,
    fovy: float,
    height: int,
    width: int,
    shading: Shading = Shading.ALBEDO,
    light: Literal["camera", "orbit"] = "camera",
) -> ViewBatch:
    """`count` views from azimuth 0 once round the object, towards +y; radians.

    `light="camera"` puts the light where the camera stands; `"orbit"` leaves the light at the height of 45 degrees and sends it
    once round the object the other way, so that every side is seen under light that moves.
    """
    azimuth = wrap_angle(torch.arange(count) * (2 * pi / count))
    elevations, distances = torch.full((count,), float(elevation)), torch.full((count,), float(distance))
    position = sphere_position(azimuth, elevations, distances)
    cameras = Cameras(
        look_at(position, torch.zeros_like(position)),
        torch.full((count,), float(fovy)),
        azimuth,
        elevations,
        distances,
        height,
        width,
    )
    lamp = position if light == "camera" else sphere_position(-azimuth, torch.full_like(azimuth, pi / 4), distances)
    ambient = torch.full_like(position, 1.0 if shading == Shading.ALBEDO else AMBIENT)
    modes = torch.full((count,), int(shading))
    return ViewBatch(cameras, Lights(lamp, 1 - ambient, ambient), modes, step=0, index=torch.arange(count))


def evaluation_orbit(
    camera: CameraSampler, count: int, size: int, shading: Shading = Shading.ALBEDO, light: Literal["camera", "orbit"] = "camera"
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
    distance = torch.full((count,), 3.0 * radius)
    position = sphere_position(azimuth, elevation, distance)
    fovy = torch.full((count,), 2 * asin(1 / 3))
    c2w = look_at(position, torch.zeros_like(position))
    cameras = Cameras(c2w, fovy, azimuth, elevation, distance, size, size, near=1.5 * radius, far=4.5 * radius)
    white = torch.ones_like(position)
    unlit = torch.full((count,), int(Shading.ALBEDO))
    return ViewBatch(cameras, Lights(position, 0 * white, white), unlit, step=0, index=torch.arange(count))
