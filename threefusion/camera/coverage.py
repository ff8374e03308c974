"""Views that see everything of a surface that can be seen from outside: which directions show what, and a plan of few of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import asin, pi, radians, sqrt
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.camera.orbit import cameras_around
from threefusion.camera.orbital import OrbitalCameras
from threefusion.camera.projection import clip_coordinates, wrap_angle
from threefusion.camera.sampler import uniform_numbers
from threefusion.camera.settings import CoverageConfig
from threefusion.ops.rasterize import rasterize
from threefusion.types import Cameras, Mesh

SIZE = 192
"""Height and width of the depth images that decide what is hidden."""
SLACK = 3.0
"""Difference of depth, in pixels, below which a point is not hidden."""
FACING = 0.2
"""Cosine between the normal and the direction of view above which a point is seen: flatter than that nothing can be painted."""
AT_ONCE = 8
LEAST_GAIN = 1e-3
"""A view is planned if it adds this share of what can be seen."""


class CoverageCameras(OrbitalCameras):
    """Orbital cameras, of which a share looks from planned directions; without a plan, orbital cameras."""

    plans: ClassVar[bool] = True
    cfg: CoverageConfig

    def __init__(self, cfg: CoverageConfig) -> None:
        super().__init__(cfg)
        self.planned = torch.zeros(0, 2)
        """Azimuth and elevation. No part of a checkpoint: the same surface gives the same plan."""

    def plan(self, mesh: Mesh, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], heading: Float[Tensor, ""]) -> None:
        """Choose directions from which all points are seen that any candidate sees."""
        directions = candidate_directions(self.cfg.candidates)
        seen = visible(mesh, points, normals, directions)
        self.planned = directions[greedy_cover(seen)] + torch.stack([heading.cpu(), torch.zeros(())])

    def _direction(
        self, step: int, seed: int, group: Int[Tensor, "B"], uniform: Float[Tensor, "B 8"]
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """Azimuth and elevation, of the plan or not."""
        azimuth, elevation = super()._direction(step, seed, group, uniform)
        if not len(self.planned):
            return azimuth, elevation
        drawn = uniform_numbers(step, seed, group, "plan", 4)
        chosen = self.planned[(drawn[:, 1] * len(self.planned)).long()]
        chosen = chosen + radians(self.cfg.planned_jitter_deg) * (2 * drawn[:, 2:] - 1)
        planned = drawn[:, 0] < self.cfg.planned_fraction
        height = chosen[:, 1].clamp(-pi / 2, pi / 2)
        return torch.where(planned, chosen[:, 0], azimuth), torch.where(planned, height, elevation)


def candidate_directions(count: int) -> Float[Tensor, "C 2"]:
    """Azimuth and elevation of directions spread evenly over the sphere, on a Fibonacci spiral."""
    number = torch.arange(count, dtype=torch.float64)
    elevation = (1 - (2 * number + 1) / count).asin()
    azimuth = wrap_angle(number * pi * (3 - sqrt(5)))
    return torch.stack([azimuth, elevation], -1).float()


def visible(
    mesh: Mesh, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], directions: Float[Tensor, "C 2"]
) -> Bool[Tensor, "C N"]:
    """Which points of a mesh are seen from each direction, on the CPU."""
    mesh, points, normals = Mesh(mesh.vertices.detach().cpu(), mesh.faces.cpu()), points.detach().cpu(), normals.detach().cpu()
    parts = [_visible(mesh, points, normals, cameras) for cameras in _outside(mesh, directions)]
    return torch.cat(parts) if parts else torch.zeros(0, len(points), dtype=torch.bool)


def _outside(mesh: Mesh, directions: Tensor) -> Iterator[Cameras]:
    """Cameras in which the whole mesh just fits."""
    radius = float(mesh.vertices.norm(dim=-1).max()) * 1.02
    for azimuth, elevation in zip(*(part.split(AT_ONCE) for part in directions.unbind(-1)), strict=True):
        cameras = cameras_around(azimuth, elevation, 3.0 * radius, 2 * asin(1 / 3), (SIZE, SIZE))
        yield replace(cameras, near=1.9 * radius, far=4.1 * radius)


def _visible(mesh: Mesh, points: Tensor, normals: Tensor, cameras: Cameras) -> Bool[Tensor, "B N"]:
    """What a few cameras see."""
    near, far = cameras.near, cameras.far
    fragments = rasterize(clip_coordinates(mesh.vertices, cameras), mesh.faces, cameras.height, cameras.width)
    depth = 2 * near * far / (far + near - fragments.depth * (far - near))
    clip = clip_coordinates(points, cameras)
    place = (0.5 + clip[..., :2] / clip[..., 3:] * clip.new_tensor([0.5, -0.5])) * SIZE
    column, row = place.long().clamp(0, SIZE - 1).unbind(-1)
    first = depth.flatten(1).gather(1, row * SIZE + column)
    pixel = 2 * float((cameras.fovy[0] / 2).tan()) * float(cameras.distance[0]) / SIZE
    towards = torch.nn.functional.normalize(cameras.position[:, None] - points, dim=-1)
    facing = (towards * normals).sum(-1).abs() > FACING
    return facing & (clip[..., 3] < first + SLACK * pixel)


def greedy_cover(seen: Bool[Tensor, "C N"]) -> Int[Tensor, "P"]:
    """The candidates that, one after the other, show the most that no earlier one shows, until little is left."""
    left, order = seen.any(0), []
    least = max(LEAST_GAIN * int(left.sum()), 1)
    while True:
        gains = (seen & left).sum(1)
        best = int(gains.argmax()) if len(gains) else 0
        if not len(gains) or int(gains[best]) < least:
            return torch.tensor(order, dtype=torch.int64)
        order.append(best)
        left &= ~seen[best]
