"""Voxel grids of a few resolutions: the fastest encoding on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.ops.grid import Grid, dense_levels
from threefusion.registry import register


@dataclass(frozen=True)
class DenseGridConfig:
    """Sizes of the grids."""

    levels: int = 3
    """Number of grids; each has twice the resolution of the one before."""
    features: int = 8
    """Features per grid."""
    base_resolution: int = 16
    """Cells per side of the coarsest grid."""

    def __post_init__(self) -> None:
        limits = {"levels": (1, 8), "features": (1, 64), "base_resolution": (2, 256)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: between {low} and {high}")
        if self.base_resolution * 2 ** (self.levels - 1) > 256:
            raise ValueError("levels: the finest grid may have at most 256 cells a side")


@register("dense-grid")
class DenseGrid(GridEncoding):
    """Every vertex has features of its own, at 16, 32 and 64 cells a side by default."""

    def __init__(self, cfg: DenseGridConfig) -> None:
        resolutions = [cfg.base_resolution * 2**level for level in range(cfg.levels)]
        super().__init__(Grid(dense_levels(resolutions), cfg.features))
        self.cfg = cfg
