"""Poses, rays and clip space of pinhole cameras (OpenGL axes: +x right, +y up, looking along -z)."""

from __future__ import annotations

from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.ops.precision import in_float32
from threefusion.types import Cameras, Rays

product = in_float32(torch.matmul)
"""Of matrices, in float32 under autocast too: bfloat16 would turn rays by whole pixels of a large image."""


def wrap_angle(angle: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The same angle in (-pi, pi]; radians."""
    return pi - torch.remainder(pi - angle, 2 * pi)


def sphere_position(
    azimuth: Float[Tensor, "B"], elevation: Float[Tensor, "B"], distance: Float[Tensor, "B"]
) -> Float[Tensor, "B 3"]:
    """Points round the origin: azimuth 0 is +x and grows towards +y, elevation is measured from the horizon; radians."""
    across = elevation.cos()
    direction = torch.stack([across * azimuth.cos(), across * azimuth.sin(), elevation.sin()], -1)
    return distance[:, None] * direction


def look_at(
    position: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"], up: Float[Tensor, "B 3"] | None = None
) -> Float[Tensor, "B 4 4"]:
    """Camera-to-world matrices of cameras at `position` that look at `target`, with `up` (+z by default) upwards in the image."""
    back = normalize(position - target, dim=-1)
    up = back.new_tensor([0.0, 0.0, 1.0]).expand_as(back) if up is None else up
    right = torch.linalg.cross(up, back)
    # straight above or below the target `up` says nothing: go on as the camera that climbs there from the front
    climbing = torch.stack([-back[:, 2], torch.zeros_like(back[:, 2]), back[:, 0]], -1)
    lost = right.norm(dim=-1, keepdim=True) < 1e-5
    right = normalize(torch.where(lost, torch.linalg.cross(climbing, back), right), dim=-1)
    c2w = torch.eye(4, device=back.device, dtype=back.dtype).repeat(len(back), 1, 1)
    c2w[:, :3, :3] = torch.stack([right, torch.linalg.cross(back, right), back], -1)
    c2w[:, :3, 3] = position
    return c2w


def camera_rays(cameras: Cameras) -> Rays:
    """One ray through the centre of every pixel, view by view, row by row from the top left.

    The radius at unit distance is 2/sqrt(12) pixel widths, so that the cone has the variance of the pixel's footprint
    (mip-NeRF, arXiv 2103.13415, section 3.1).
    """
    height, width = cameras.height, cameras.width
    like = cameras.c2w
    pixel = 2 * (cameras.fovy / 2).tan() / (height if cameras.crop is None else cameras.crop[:, 2])
    x = torch.arange(width, device=like.device, dtype=like.dtype) + 0.5 - width / 2
    y = height / 2 - torch.arange(height, device=like.device, dtype=like.dtype) - 0.5
    down, across = torch.meshgrid(y, x, indexing="ij")
    plane = torch.stack([across, down], -1).reshape(1, -1, 2)
    if cameras.crop is not None:
        top, left, whole_height, whole_width = cameras.crop.unbind(1)
        # distance of the centre of the crop from that of the image, in pixels
        centre = torch.stack([left + (width - whole_width) / 2, (whole_height - height) / 2 - top], -1)
        plane = plane + centre[:, None]
    plane = plane * pixel[:, None, None]
    local = torch.cat([plane, -torch.ones_like(plane[..., :1])], -1)
    length = local.norm(dim=-1, keepdim=True)
    directions = product(local / length, like[:, :3, :3].transpose(1, 2))
    origins = like[:, None, :3, 3].expand_as(directions)
    views = torch.arange(len(cameras), device=like.device)
    return Rays(
        origins.reshape(-1, 3),
        directions.reshape(-1, 3),
        (pixel[:, None, None] * (2 / sqrt(12)) / length).reshape(-1, 1),
        views.repeat_interleave(height * width),
    )


def world_to_clip(cameras: Cameras) -> Float[Tensor, "B 4 4"]:
    """World to OpenGL clip space: x right, y up, z in [-1, 1] from `near` to `far` after the division by w."""
    focal = 1 / (cameras.fovy / 2).tan()
    near, far = cameras.near, cameras.far
    projection = torch.zeros_like(cameras.c2w)
    projection[:, 0, 0] = focal * cameras.height / cameras.width
    projection[:, 1, 1] = focal
    if cameras.crop is not None:
        top, left, height, width = cameras.crop.unbind(1)
        projection[:, 0, 0] = focal * height / cameras.width
        projection[:, 1, 1] = focal * height / cameras.height
        # times w = -z
        projection[:, 0, 2] = (2 * left + cameras.width - width) / cameras.width
        projection[:, 1, 2] = (height - cameras.height - 2 * top) / cameras.height
    projection[:, 2, 2] = -(far + near) / (far - near)
    projection[:, 2, 3] = -2 * far * near / (far - near)
    projection[:, 3, 2] = -1
    rotation = cameras.c2w[:, :3, :3].transpose(1, 2)
    view = torch.zeros_like(cameras.c2w)
    view[:, :3, :3] = rotation
    view[:, :3, 3:] = product(-rotation, cameras.c2w[:, :3, 3:])
    view[:, 3, 3] = 1
    return product(projection, view)


def clip_coordinates(points: Float[Tensor, "N 3"], cameras: Cameras) -> Float[Tensor, "B N 4"]:
    """Homogeneous clip coordinates of world points in every view; w is the depth along the optical axis.

    >>> from threefusion.camera.orbit import orbit_views
    >>> cameras = orbit_views(1, elevation=0.0, distance=2.0, fovy=0.8, height=4, width=4).camera
    >>> clip_coordinates(torch.zeros(1, 3), cameras)[0, 0, 3].item()
    2.0
    """
    return product(torch.cat([points, torch.ones_like(points[:, :1])], -1), world_to_clip(cameras).transpose(1, 2))
