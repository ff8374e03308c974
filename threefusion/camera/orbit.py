"""Views evenly round the object: turntables, relighting and evaluation."""

from __future__ import annotations

from math import pi
from typing import Literal

import torch

from threefusion.camera.projection import look_at, sphere_position, wrap_angle
from threefusion.types import Cameras, Lights, Shading, ViewBatch

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
