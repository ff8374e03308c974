"""Rays and their samples: slices of them, and Gaussian approximations of the conical frusta of a pixel."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

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


def rays_of(rays: Rays, ray_index: Int[Tensor, "N"]) -> Rays:
    """The ray of each sample.

    >>> rays = Rays(torch.zeros(2, 3), torch.eye(3)[:2], torch.ones(2, 1), torch.tensor([0, 1]))
    >>> rays_of(rays, torch.tensor([1, 1, 0])).view_index.tolist()
    [1, 1, 0]
    """
    # index_select: several times as fast as an index in brackets
    return Rays(*(value.index_select(0, ray_index) for value in (rays.origins, rays.directions, rays.radii, rays.view_index)))


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
