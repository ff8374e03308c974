"""Density and features on the vertices of a grid, without a network."""

from __future__ import annotations

import torch
from torch import Tensor

from threefusion.geometry.density_field import DensityField
from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.geometry.geometry import BuildContext, Geometry, HasDensity
from threefusion.geometry.mlp import FieldNetwork
from threefusion.geometry.settings import VoxelGridConfig
from threefusion.ops.grid import Grid, dense_levels

CHUNK = 1 << 18
"""Vertices at which a previous scene is evaluated at once."""


class VoxelGrid(DensityField):
    """Trilinear interpolation between vertices: density = activation(interpolated + bias + blob).

    From a previous scene with a density, every vertex takes over its density, and its features if the material reads as many.
    """

    cfg: VoxelGridConfig

    def build_network(self, cfg: VoxelGridConfig, outputs: int) -> None:
        """Create the grid, all zero; nothing follows it."""
        self.radius = cfg.radius
        self.encoding = GridEncoding(Grid(dense_levels([cfg.resolution]), outputs))
        self.network = FieldNetwork()

    def __init__(self, cfg: VoxelGridConfig, context: BuildContext) -> None:
        super().__init__(cfg, context)
        before = None if context.previous is None else context.previous.geometry
        if isinstance(before, HasDensity) and not isinstance(before, VoxelGrid):
            self.encoding.table.data = torch.cat([self._taken_over(p, before) for p in self._vertices().split(CHUNK)])

    def _vertices(self) -> Tensor:
        """Positions of the table's rows, in scene units: x is the fastest."""
        axis = torch.linspace(-self.radius, self.radius, self.cfg.resolution + 1)
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1).reshape(-1, 3)

    @torch.no_grad()
    def _taken_over(self, points: Tensor, before: Geometry) -> Tensor:
        """Rows of the table whose density after the activation is that of the geometry before."""
        device = next(before.parameters()).device
        covariance = torch.zeros_like(points, device=device) if before.needs_covariance else None
        field = before(points.to(device), False, covariance)
        density = field.density.to(points.device).clamp_min(1e-6)
        level = (density + (-(-density).expm1()).log() if self.cfg.activation == "softplus" else density.log())[:, 0]
        rows = torch.zeros(len(points), self.encoding.grid.features)
        rows[:, 0] = level - self._level(points, rows)
        if field.features.shape[1] == rows.shape[1] - 1:
            rows[:, 1:] = field.features.to(rows)
        return rows
