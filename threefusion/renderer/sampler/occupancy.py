"""Samples only where there may be something."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.geometry.geometry import ImplicitGeometry
from threefusion.ops.march import march
from threefusion.registry import register
from threefusion.renderer.sampler.sampler import RaySampler, ball_interval, ray_jitter
from threefusion.renderer.sampler.settings import OccupancyConfig
from threefusion.types import Rays, RaySamples, ViewBatch, send

_PHASES = 4
"""A refresh after the warm-up visits every fourth cell, another fourth each time."""


@register("occupancy")
class Occupancy(RaySampler):
    """Steps of equal length inside the ball, those in cells known to be empty left out; per ray jittered in training.

    The grid is a part of the checkpoint, so that a resumed run goes on exactly.
    """

    def __init__(self, cfg: OccupancyConfig, geometry: ImplicitGeometry) -> None:
        super().__init__(geometry)
        self.cfg = cfg
        self.step_length = 2 * geometry.radius / cfg.samples_per_ray
        cells = cfg.resolution**3
        self.register_buffer("remembered", torch.zeros(cells))
        self.register_buffer("occupied", torch.ones(cells, dtype=torch.bool))

    def forward(self, rays: Rays, batch: ViewBatch) -> RaySamples:
        """Samples sorted by ray, then distance."""
        near, far = ball_interval(rays, self.geometry.radius, batch.camera.near)
        shift = ray_jitter(batch, 1)[:, 0] if self.training else torch.full_like(near, 0.5)
        occupied = self.occupied.view((self.cfg.resolution,) * 3)
        radius, length = self.geometry.radius, self.step_length
        middle, ray_index = march(rays.origins, rays.directions, near, far, shift, occupied, radius, length)
        return RaySamples(middle - length / 2, middle + length / 2, ray_index)

    @torch.no_grad()
    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Probe the density at a random point of each cell, all of them in the warm-up, later a quarter at a time."""
        if step % self.cfg.interval:
            return
        warming = step < self.cfg.warmup_steps
        turn = 0 if warming else step // self.cfg.interval % _PHASES
        device = self.occupied.device
        cells = torch.arange(turn, len(self.occupied), 1 if warming else _PHASES, device=device)
        inside = send(torch.rand(len(cells), 3, generator=generator), device)
        density = self.geometry.density(self._points(cells, inside))[:, 0].float()
        self.remembered[cells] = torch.maximum(self.remembered[cells] * self.cfg.decay, density)
        opacity = -torch.expm1(-self.remembered * self.step_length)
        # a young scene may be thin everywhere: never cull what is half as dense as the average cell
        self.occupied.copy_(opacity >= (0.5 * opacity.mean()).clamp_max(self.cfg.threshold))

    def turn_round(self) -> None:
        """Turn the grid like the geometry."""
        for cells in (self.remembered, self.occupied):
            cells.copy_(cells.view((self.cfg.resolution,) * 3).flip(0, 1).flatten())

    def _points(self, cells: Int[Tensor, "M"], inside: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Points in scene units, `inside` their place in the cell."""
        side = self.cfg.resolution
        corner = torch.stack([cells // side**2, cells // side % side, cells % side], -1)
        return ((corner + inside) * (2 / side) - 1) * self.geometry.radius
