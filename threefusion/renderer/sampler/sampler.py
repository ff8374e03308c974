"""The base class of ray samplers."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.geometry.geometry import ImplicitGeometry
from threefusion.types import Rays, RaySamples, ViewBatch


class RaySampler(Component):
    """Chooses the stretches of each ray where the scene is asked. Constructed with `(cfg, geometry)`."""

    kind: ClassVar[str] = "sampler"

    def __init__(self, geometry: ImplicitGeometry) -> None:
        super().__init__()
        # in a tuple, lest the geometry become a part of the sampler and its parameters be saved twice
        self._geometry = (geometry,)

    @property
    def geometry(self) -> ImplicitGeometry:
        """The geometry whose ball is sampled; it belongs to the renderer."""
        return self._geometry[0]

    def turn_round(self) -> None:
        """Follow the geometry, which was turned by half a turn about the vertical axis."""

    @abstractmethod
    def forward(self, rays: Rays, batch: ViewBatch) -> RaySamples:
        """Samples sorted by ray, then distance.

        In training, where `rays` are all rays of the batch, they are jittered by `batch.rand`; in evaluation they are not, and
        `rays` may be any part of the batch's.
        """


def ball_interval(rays: Rays, radius: float, near: float) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Distances at which rays enter and leave the ball round the origin, from `near` on; both equal for rays that miss."""
    along = -(rays.origins * rays.directions).sum(-1)
    closest2 = rays.origins.square().sum(-1) - along.square()
    half = (radius**2 - closest2).clamp_min(0).sqrt()
    enter = (along - half).clamp_min(near)
    return enter, torch.maximum(along + half, enter)


def ray_jitter(batch: ViewBatch, per_ray: int) -> Float[Tensor, "R {per_ray}"]:
    """Uniform numbers in [0, 1) for every ray of the batch."""
    return batch.rand("sampler", batch.camera.height * batch.camera.width, per_ray).flatten(0, 1)
