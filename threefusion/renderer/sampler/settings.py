"""Settings of the built-in ray samplers."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings, bounded
from threefusion.registry import component


@component("sampler", "uniform", "threefusion.renderer.sampler.uniform:Uniform")
@dataclass(frozen=True)
class UniformConfig(Settings):
    """How many samples."""

    samples_per_ray: int = bounded(64, 1, 4096)
    """Samples between where a ray enters the ball and where it leaves it."""


@component("sampler", "occupancy", "threefusion.renderer.sampler.occupancy:Occupancy")
@dataclass(frozen=True)
class OccupancyConfig(Settings):
    """Steps along the ray, and the grid that culls them (instant-ngp, arXiv 2201.05989, its occupancy grids)."""

    samples_per_ray: int = bounded(64, 1, 4096)
    """Steps along the ball's diameter; shorter ways through it take fewer."""
    resolution: int = bounded(32, 2, 512)
    """Cells of the occupancy grid along each axis."""
    threshold: float = bounded(0.01, 0, 1, open_high=True)
    """Opacity of one step below which a cell counts as empty, unless the whole scene is thinner than that."""
    decay: float = bounded(0.95, 0, 1, open_high=True)
    """Factor by which a cell's remembered density shrinks at each refresh unless a new probe finds more."""
    interval: int = bounded(16, 1, 10_000)
    """Optimiser steps between refreshes."""
    warmup_steps: int = bounded(256, 0, 10**9)
    """Steps during which a refresh probes all cells; later it probes a quarter of them, in turn."""
