"""A plugin: a geometry that starts from any geometry of the stage before, and an exporter that writes no mesh."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from threefusion.config import Settings
from threefusion.exporter.exporter import Exported, Exporter
from threefusion.exporter.writers import write_files
from threefusion.geometry.geometry import BuildContext, HasDensity
from threefusion.geometry.normals import central_gradient, downhill
from threefusion.registry import register
from threefusion.renderer.renderer import Renderer
from threefusion.types import FieldSample, Scene


@dataclass(frozen=True)
class VoxelsConfig(Settings):
    """Settings of the grid."""

    radius: float = 0.8
    """Of the ball that holds the scene."""
    resolution: int = 12
    """Nodes along each axis."""


@register("voxels", gives=("density",))
class Voxels(HasDensity):
    """Density and features at the nodes of a grid, at first those of the stage before."""

    takes_shape = "built"

    def __init__(self, cfg: VoxelsConfig, context: BuildContext) -> None:
        super().__init__()
        self.cfg, self.radius = cfg, cfg.radius
        axis = torch.linspace(-cfg.radius, cfg.radius, cfg.resolution)
        nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        before = context.previous.geometry
        with torch.no_grad():
            values = torch.cat([before.density(nodes), before.features(nodes)], -1)
        self.values = nn.Parameter(values.T.reshape(1, -1, *[cfg.resolution] * 3).contiguous())

    def copy_features(self, before):
        return True  # the constructor has

    def _at(self, points):
        where = (points / self.radius).flip(-1).reshape(1, -1, 1, 1, 3)
        return nn.functional.grid_sample(self.values, where, align_corners=True)[0, :, :, 0, 0].T

    def density(self, points, covariance=None):
        return self._at(points)[:, :1].relu() * (points.norm(dim=-1, keepdim=True) < self.radius)

    def features(self, points, covariance=None):
        return self._at(points)[:, 1:]

    def forward(self, points, normals, covariance=None):
        slope = central_gradient(self.density, points, 0.05) if normals else None
        normal = None if slope is None else downhill(slope)
        return FieldSample(self.features(points), self.density(points), normal, points)


@dataclass(frozen=True)
class CountConfig(Settings):
    """Settings of the count."""

    level: float = 1.0
    """Lowest density that counts."""


@register("count", needs=("density",))
class Count(Exporter):
    """How many of a few points are dense."""

    def __init__(self, cfg: CountConfig) -> None:
        super().__init__()
        self.cfg = cfg

    def export(self, scene: Scene, renderer: Renderer, folder: Path) -> Exported:
        axis = torch.linspace(-0.5, 0.5, 9)
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        dense = int((scene.geometry.density(points.to(scene.device)) > self.cfg.level).sum())
        return Exported(write_files({folder / "count.txt": f"{dense}\n".encode()}), {"dense": dense})
