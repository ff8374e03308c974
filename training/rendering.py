"""Random cameras and lighting of training images."""

from __future__ import annotations

from math import pi, radians

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.camera.orbit import cameras_around
from threefusion.types import Cameras


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
    return cameras_around(azimuth, elevation, distance, fovy, (size, size), target=uniform(-0.04, 0.04, 3))


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
