"""The base class of ray samplers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.types import Rays, RaySamples, ViewBatch

Density = Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N 1"]]
"""Density at points in scene units, as the renderer sees it."""


class RaySampler(Component):
    """Chooses the intervals of each ray on which the field is evaluated. Constructed with `(cfg)`."""

    kind: ClassVar[str] = "sampler"

    @abstractmethod
    def forward(self, radius: float, rays: Rays, views: ViewBatch, random: bool) -> RaySamples:
        """Samples in the ball of `radius` round the origin, sorted by ray, then distance.

        With `random`, where `rays` are all rays of the views, they are jittered by `views.rand`; without, `rays` may be any part
        of the views'.
        """

    @torch.no_grad()
    def update(self, density: Density, radius: float, step: int, generator: torch.Generator) -> None:
        """Called once before every optimiser step; override for state that follows the density, such as an occupancy grid.

        `generator` depends on (seed, step) alone and is the same in every process.
        """


def ball_interval(rays: Rays, radius: float, near: float) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Distances at which rays enter and leave the ball round the origin, from `near` on; both equal for rays that miss.

    >>> origin, direction = torch.tensor([[3.0, 0, 0]]), torch.tensor([[-1.0, 0, 0]])
    >>> rays = Rays(origin, direction, torch.ones(1, 1), torch.zeros(1, dtype=torch.int64))
    >>> ball_interval(rays, radius=1.0, near=0.1)
    (tensor([2.]), tensor([4.]))
    """
    along = -(rays.origins * rays.directions).sum(-1)
    closest2 = rays.origins.square().sum(-1) - along.square()
    half = (radius**2 - closest2).clamp_min(0).sqrt()
    enter = (along - half).clamp_min(near)
    return enter, torch.maximum(along + half, enter)


def ray_jitter(views: ViewBatch, per_ray: int) -> Float[Tensor, "R {per_ray}"]:
    """Uniform numbers in [0, 1) for every ray of the views."""
    return views.rand("sampler", views.camera.height * views.camera.width, per_ray).flatten(0, 1)
