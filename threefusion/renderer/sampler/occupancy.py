"""Sampler that skips empty cells of an occupancy grid."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.machine.tensors import send
from threefusion.ops.march import march
from threefusion.renderer.sampler.sampler import Density, RaySampler, ball_interval, ray_jitter
from threefusion.renderer.sampler.settings import OccupancyConfig
from threefusion.types import Rays, RaySamples, ViewBatch

_PHASES = 4
"""A refresh after the warm-up visits every fourth cell, another fourth each time."""


class Occupancy(RaySampler):
    """Steps of equal length inside the ball, those in cells known to be empty left out; per ray jittered in training.

    The grid is a part of the checkpoint, so that a resumed run goes on exactly.
    """

    def __init__(self, cfg: OccupancyConfig) -> None:
        super().__init__(cfg)
        cells = cfg.resolution**3
        self.register_buffer("peak_density", torch.zeros(cells))
        self.register_buffer("occupied", torch.ones(cells, dtype=torch.bool))

    def step_length(self, radius: float) -> float:
        """Length of one sample, in scene units."""
        return 2 * radius / self.cfg.samples_per_ray

    def forward(self, radius: float, rays: Rays, views: ViewBatch, random: bool) -> RaySamples:
        """Samples sorted by ray, then distance."""
        length = self.step_length(radius)
        near, far = ball_interval(rays, radius, views.camera.near)
        shift = ray_jitter(views, 1)[:, 0] if random else torch.full_like(near, 0.5)
        occupied = self.occupied.view((self.cfg.resolution,) * 3)
        middle, ray_index = march(rays.origins, rays.directions, near, far, shift, occupied, radius, length)
        return RaySamples(middle - length / 2, middle + length / 2, ray_index)

    @torch.no_grad()
    def update(self, density: Density, radius: float, step: int, generator: torch.Generator) -> None:
        """Probe the density at a random point of each cell, all of them in the warm-up, later a quarter at a time."""
        if step % self.cfg.interval:
            return
        warming = step < self.cfg.warmup_steps
        turn = 0 if warming else step // self.cfg.interval % _PHASES
        device = self.occupied.device
        cells = torch.arange(turn, len(self.occupied), 1 if warming else _PHASES, device=device)
        inside = send(torch.rand(len(cells), 3, generator=generator), device)
        probed = density(self._points(cells, inside) * radius)[:, 0].float()
        self.peak_density[cells] = torch.maximum(self.peak_density[cells] * self.cfg.decay, probed)
        opacity = -torch.expm1(-self.peak_density * self.step_length(radius))
        # a young scene may be thin everywhere: never cull what is half as dense as the average cell
        self.occupied.copy_(opacity >= (0.5 * opacity.mean()).clamp_max(self.cfg.threshold))

    def _points(self, cells: Int[Tensor, "M"], inside: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Points in [-1, 1]^3; `inside` is their position in the cell, in [0, 1)^3."""
        side = self.cfg.resolution
        corner = torch.stack([cells // side**2, cells // side % side, cells % side], -1)
        return (corner + inside) * (2 / side) - 1
