"""Rays and their samples: slices of them, and Gaussian approximations of the conical frusta of a pixel."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.march import ray_points
from threefusion.types import Rays, RaySamples, RenderedSamples


def cone_gaussian(
    direction: Float[Tensor, "N 3"], radius: Float[Tensor, "N 1"], t_start: Float[Tensor, "N"], t_end: Float[Tensor, "N"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
    """Mean distance along the ray and diagonal covariance of each conical frustum (mip-NeRF, arXiv 2103.13415, section 3.1).

    Args:
        direction: unit direction of each sample's ray.
        radius: radius of the cone at unit distance.
        t_start: distance at which the frustum begins.
        t_end: distance at which it ends.

    >>> along_x = torch.tensor([[1.0, 0.0, 0.0]])
    >>> mean, covariance = cone_gaussian(along_x, torch.tensor([[0.1]]), torch.tensor([1.0]), torch.tensor([2.0]))
    >>> round(mean.item(), 4), [round(value, 4) for value in covariance[0].tolist()]
    (1.6071, [0.0742, 0.0066, 0.0066])
    """
    middle, half = 0.5 * (t_start + t_end), 0.5 * (t_end - t_start)
    middle2, half2 = middle.square(), half.square()
    scale = 3 * middle2 + half2
    mean = middle + 2 * middle * half2 / scale
    along = half2 / 3 - (4 / 15) * half2.square() * (12 * middle2 - half2) / scale.square()
    across = radius[:, 0].square() * (middle2 / 4 + (5 / 12) * half2 - (4 / 15) * half2.square() / scale)
    square = direction.square()
    return mean, along[:, None] * square + across[:, None] * (1 - square)


class SampleRays:
    """What each sample has from its ray, gathered when it is first read: most renders need little of it.

    >>> rays = Rays(torch.zeros(2, 3), torch.eye(3)[:2], torch.ones(2, 1), torch.tensor([0, 1]))
    >>> SampleRays(rays, torch.tensor([1, 1, 0])).view_index.tolist()
    [1, 1, 0]
    """

    def __init__(self, rays: Rays, ray_index: Int[Tensor, "N"]) -> None:
        self.rays = rays
        self.ray_index = ray_index

    @cached_property
    def directions(self) -> Float[Tensor, "N 3"]:
        """Unit directions."""
        # index_select: several times as fast as an index in brackets
        return self.rays.directions.index_select(0, self.ray_index)

    @cached_property
    def view_index(self) -> Int[Tensor, "N"]:
        """Which view of the batch each sample belongs to."""
        return self.rays.view_index.index_select(0, self.ray_index)

    def points(self, distances: Float[Tensor, "N"]) -> Float[Tensor, "N 3"]:
        """Points at distances along the rays."""
        return ray_points(self.rays.origins, self.rays.directions, distances, self.ray_index)

    def gaussians(self, samples: RaySamples) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
        """Mean and diagonal covariance of each sample's part of its cone."""
        radii = self.rays.radii.index_select(0, self.ray_index)
        mean, covariance = cone_gaussian(self.directions, radii, samples.t_start, samples.t_end)
        return self.points(mean), covariance


def split_rays(rays: Rays, size: int) -> list[Rays]:
    """Rays in parts of `size`, in order; one empty part if there are none."""
    columns = (value.split(size) for value in (rays.origins, rays.directions, rays.radii, rays.view_index))
    return [Rays(*part) for part in zip(*columns, strict=True)]


def split_samples(samples: RaySamples, size: int) -> list[RaySamples]:
    """Samples in parts of `size`, in order; one empty part if there are none.

    >>> samples = RaySamples(torch.arange(5.0), torch.arange(5.0) + 1, torch.zeros(5, dtype=torch.int64))
    >>> [len(part.t_start) for part in split_samples(samples, 2)]
    [2, 2, 1]
    """
    columns = (value.split(size) for value in (samples.t_start, samples.t_end, samples.ray_index))
    return [RaySamples(*part) for part in zip(*columns, strict=True)]


def join(parts: list[RenderedSamples], size: int) -> RenderedSamples:
    """Samples of consecutive parts of the rays, `size` rays each, as one."""
    parts = [replace(part, ray_index=part.ray_index + size * index) for index, part in enumerate(parts)]
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(RenderedSamples)}
    rays = sum(columns.pop("rays"))
    joined = {name: None if column[0] is None else torch.cat(column) for name, column in columns.items()}
    return RenderedSamples(**joined, rays=rays)
