"""The multiresolution hash grid of instant-ngp."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.geometry.encoding.settings import HashGridConfig
from threefusion.ops.grid import Grid, hash_levels


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

    def cell(self) -> float | Float[Tensor, ""]:
        """Side of a cell of the finest grid that counts, in [-1, 1]^3."""
        if self.cfg.active_levels is None:
            return super().cell()
        finest = (self.active.ceil() - 1).clamp(0, self.cfg.levels - 1)
        return 2 / (self.cfg.base_resolution * self.cfg.growth**finest - 1)

    def _level_scale(self, features: Tensor) -> Tensor:
        if self.cfg.active_levels is None:
            return features
        shares = (self.active - torch.arange(self.cfg.levels, device=features.device)).clamp(0, 1)
        return features * shares.repeat_interleave(self.grid.features)
