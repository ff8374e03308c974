"""Sampler with the same number of samples on every ray that meets the scene's ball."""

from __future__ import annotations

import torch

from threefusion.renderer.sampler.sampler import RaySampler, ball_interval, ray_jitter
from threefusion.renderer.sampler.settings import UniformConfig
from threefusion.types import Rays, RaySamples, ViewBatch


class Uniform(RaySampler):
    """Intervals of equal length inside the ball, their borders jittered in training (mip-NeRF's stratified sampling)."""

    cfg: UniformConfig

    def forward(self, radius: float, rays: Rays, views: ViewBatch, random: bool) -> RaySamples:
        """Samples sorted by ray, then distance."""
        count = self.cfg.samples_per_ray
        near, far = ball_interval(rays, radius, views.camera.near)
        hit = (far > near).nonzero()[:, 0]
        borders = torch.linspace(0, 1, count + 1, device=near.device).expand(len(hit), -1)
        if random:
            # each border moves between the middles of the intervals on either side of it
            middle = (borders[:, 1:] + borders[:, :-1]) / 2
            low = torch.cat([borders[:, :1], middle], -1)
            high = torch.cat([middle, borders[:, -1:]], -1)
            borders = low + (high - low) * ray_jitter(views, count + 1)[hit]
        distance = near[hit, None] + (far - near)[hit, None] * borders
        return RaySamples(distance[:, :-1].flatten(), distance[:, 1:].flatten(), hit.repeat_interleave(count))
