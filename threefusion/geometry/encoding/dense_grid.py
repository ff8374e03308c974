"""Voxel grids of a few resolutions: the fastest encoding on a CPU."""

from __future__ import annotations

from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.geometry.encoding.settings import DenseGridConfig
from threefusion.ops.grid import Grid, dense_levels


class DenseGrid(GridEncoding):
    """Every vertex has features of its own, at 16, 32 and 64 cells a side by default."""

    def __init__(self, cfg: DenseGridConfig) -> None:
        resolutions = [cfg.base_resolution * 2**level for level in range(cfg.levels)]
        super().__init__(Grid(dense_levels(resolutions), cfg.features))
        self.cfg = cfg
