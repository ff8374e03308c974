"""Positions of the point lights."""

from __future__ import annotations

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.camera.projection import look_at, product, sphere_position


def around_camera_direction(
    camera: Float[Tensor, "B 3"], noise: Float[Tensor, "B 3"], distance: Float[Tensor, "B"]
) -> Float[Tensor, "B 3"]:
    """Lights at `distance` from the origin in the direction of camera + noise.

    DreamFusion (arXiv 2209.14988) draws the light round the camera; the numbers are threestudio's.
    """
    return normalize(camera + noise, dim=-1) * distance[:, None]


def cone_about_camera(
    camera: Float[Tensor, "B 3"], half_angle: float, uniform: Float[Tensor, "B 2"], distance: Float[Tensor, "B"]
) -> Float[Tensor, "B 3"]:
    """Lights at `distance` from the origin in a cone about the camera's direction, threestudio's rule for Magic3D; radians.

    The angle to the axis is uniform in [0, half_angle], the turn about it uniform.
    """
    tilt, turn = uniform[:, 0] * half_angle, uniform[:, 1] * 2 * pi
    frame = look_at(camera, torch.zeros_like(camera))[:, :3, :3]
    local = sphere_position(turn, pi / 2 - tilt, distance)
    return product(frame, local[:, :, None])[:, :, 0]
