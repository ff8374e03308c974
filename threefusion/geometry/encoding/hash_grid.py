"""The multiresolution hash grid of instant-ngp."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.ops.grid import Grid, hash_levels
from threefusion.registry import register
from threefusion.schedule import Schedule


@dataclass(frozen=True)
class HashGridConfig:
    """Sizes of the hash grid (Müller et al., arXiv 2201.05989)."""

    levels: int = 16
    """Number of grids."""
    features: int = 2
    """Features per grid."""
    log2_table_size: int = 15
    """Binary logarithm of the rows per grid; 15 stays in a CPU's cache, 19 is what GPU toolkits use."""
    base_resolution: int = 16
    """Vertices per side of the coarsest grid."""
    growth: float = 1.447
    """Ratio of one grid's resolution to the one before; 1.447 leads from 16 to 4096 in 16 grids."""
    active_levels: Schedule | None = None
    """How many grids count, coarsest first, a broken part fading one in; all of them if not given."""

    def __post_init__(self) -> None:
        limits = {
            "levels": (1, 32),
            "features": (1, 16),
            "log2_table_size": (8, 24),
            "base_resolution": (2, 512),
            "growth": (1, 4),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: between {low} and {high}")
        if self.base_resolution * self.growth ** (self.levels - 1) > 65536:
            raise ValueError("growth: the finest grid may have at most 65536 cells a side")


@register("hash-grid")
class HashGrid(GridEncoding):
    """Grids of growing resolution whose vertices share the rows of a table once there are more of them than rows.

    Laid out as in tiny-cuda-nn: its parameters, reshaped to `[rows, features]`, are this `table`.
    """

    def __init__(self, cfg: HashGridConfig) -> None:
        super().__init__(Grid(hash_levels(cfg.levels, cfg.log2_table_size, cfg.base_resolution, cfg.growth), cfg.features))
        self.cfg = cfg
        start = cfg.levels if cfg.active_levels is None else cfg.active_levels(0)
        self.register_buffer("active", torch.tensor(float(start)))

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Let as many grids count as the schedule says."""
        if self.cfg.active_levels is not None:
            self.active.fill_(self.cfg.active_levels(step))

    def _level_scale(self, features: Tensor) -> Tensor:
        if self.cfg.active_levels is None:
            return features
        shares = (self.active - torch.arange(self.cfg.levels, device=features.device)).clamp(0, 1)
        return features * shares.repeat_interleave(self.grid.features)
