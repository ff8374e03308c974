"""Density and features on the vertices of a grid, without a network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from threefusion.geometry.conversion import CHUNK, at_point, density_before
from threefusion.geometry.density_field import DensityField
from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.geometry.geometry import BuildContext, Geometry
from threefusion.geometry.mlp import FieldNetwork
from threefusion.geometry.settings import VoxelGridConfig
from threefusion.ops.grid import Grid, dense_levels

LEAST = 1e-6
"""Density of vertices that are empty."""


class VoxelGrid(DensityField):
    """Trilinear interpolation between vertices: density = activation(interpolated + bias + blob).

    Every vertex takes over the density of a previous scene, and the features if its material reads them alike.
    """

    takes_shape: ClassVar[str] = "built"
    cfg: VoxelGridConfig

    def build_network(self, cfg: VoxelGridConfig, outputs: int) -> None:
        """Create the grid, all zero; nothing follows it."""
        self.radius = cfg.radius
        self.encoding = GridEncoding(Grid(dense_levels([cfg.resolution]), outputs))
        self.network = FieldNetwork()

    def __init__(self, cfg: VoxelGridConfig, context: BuildContext) -> None:
        super().__init__(cfg, context)
        density = None if context.restoring else density_before(context, self._vertices())
        if density is not None:
            with torch.no_grad():
                self.encoding.table[:, :1] = self._rows(density)

    @torch.no_grad()
    def copy_features(self, before: Geometry) -> bool:
        """Take over the features at every vertex."""
        points = self._vertices().to(self.encoding.table.device)
        self.encoding.table[:, 1:] = torch.cat([at_point(before.features, before, part) for part in points.split(CHUNK)])
        return True

    def _vertices(self) -> Tensor:
        """Positions of the table's rows, in scene units: x is the fastest."""
        axis = torch.linspace(-self.radius, self.radius, self.cfg.resolution + 1)
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1).reshape(-1, 3)

    def _rows(self, density: Tensor) -> Tensor:
        """What the table holds of a density at the vertices `[N 1]`: its value before the activation, without bias and blob."""
        density = density.clamp_min(LEAST)
        level = density + (-(-density).expm1()).log() if self.cfg.activation == "softplus" else density.log()
        points = self._vertices()
        return level - self._level(points, torch.zeros(len(points), 1))[:, None]
