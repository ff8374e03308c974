"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UniformConfig:
    """How many samples."""

    samples_per_ray: int = 64
    """Samples between where a ray enters the ball and where it leaves it."""

    def __post_init__(self) -> None:
        if not 1 <= self.samples_per_ray <= 4096:
            raise ValueError("samples_per_ray: between 1 and 4096")


@dataclass(frozen=True)
class OccupancyConfig:
    """Steps along the ray, and the grid that culls them (instant-ngp, arXiv 2201.05989, its occupancy grids)."""

    samples_per_ray: int = 64
    """Steps along the ball's diameter; shorter ways through it take fewer."""
    resolution: int = 32
    """Cells of the occupancy grid along each axis."""
    threshold: float = 0.01
    """Opacity of one step below which a cell counts as empty, unless the whole scene is thinner than that."""
    decay: float = 0.95
    """Factor by which a cell's remembered density shrinks at each refresh unless a new probe finds more."""
    interval: int = 16
    """Optimiser steps between refreshes."""
    warmup_steps: int = 256
    """Steps during which a refresh probes all cells; later it probes a quarter of them, in turn."""

    def __post_init__(self) -> None:
        limits = {"samples_per_ray": (1, 4096), "resolution": (2, 512), "interval": (1, 10000)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: between {low} and {high}")
        for name in ("threshold", "decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 0, less than 1")
        if self.warmup_steps < 0:
            raise ValueError("warmup_steps: 0 or more")
