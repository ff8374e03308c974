"""Settings of the built-in encodings."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.registry import component


@component("encoding", "frequency", "threefusion.geometry.encoding.frequency:Frequency")
@dataclass(frozen=True)
class FrequencyConfig(Settings):
    """Size of the encoding (NeRF, arXiv 2003.08934, eq. 4)."""

    frequencies: int = bounded(10, 1, 20)
    """Octaves per coordinate, from one wave across the scene upwards."""
    include_points: bool = True
    """Put the coordinates themselves in front."""


@component("encoding", "integrated", "threefusion.geometry.encoding.integrated:Integrated")
@dataclass(frozen=True)
class IntegratedConfig(Settings):
    """Size of the encoding (mip-NeRF, arXiv 2103.13415, section 3.1)."""

    frequencies: int = bounded(12, 1, 20)
    """Octaves per coordinate, from one wave across the scene upwards; those finer than a pixel's cone fade out by themselves."""


@component("encoding", "hash-grid", "threefusion.geometry.encoding.hash_grid:HashGrid")
@dataclass(frozen=True)
class HashGridConfig(Settings):
    """Sizes of the hash grid (Müller et al., arXiv 2201.05989)."""

    levels: int = bounded(16, 1, 32)
    """Number of grids."""
    features: int = bounded(2, 1, 16)
    """Features per grid."""
    log2_table_size: int = bounded(15, 8, 24)
    """Binary logarithm of the rows per grid; 15 stays in a CPU's cache, 19 is what GPU toolkits use."""
    base_resolution: int = bounded(16, 2, 512)
    """Vertices per side of the coarsest grid."""
    growth: float = bounded(1.447, 1, 4)
    """Ratio of one grid's resolution to the one before; 1.447 leads from 16 to 4096 in 16 grids."""
    active_levels: Schedule | None = bounded(None, 0, 32)
    """How many grids count, coarsest first, a broken part fading one in; all of them if not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_resolution * self.growth ** (self.levels - 1) > 65536:
            raise ValueError("growth: the finest grid may have at most 65536 cells a side")


@component("encoding", "dense-grid", "threefusion.geometry.encoding.dense_grid:DenseGrid")
@dataclass(frozen=True)
class DenseGridConfig(Settings):
    """Sizes of the grids."""

    levels: int = bounded(3, 1, 8)
    """Number of grids; each has twice the resolution of the one before."""
    features: int = bounded(8, 1, 64)
    """Features per grid."""
    base_resolution: int = bounded(16, 2, 256)
    """Cells per side of the coarsest grid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_resolution * 2 ** (self.levels - 1) > 256:
            raise ValueError("levels: the finest grid may have at most 256 cells a side")


@component("encoding", "tri-plane", "threefusion.geometry.encoding.tri_plane:TriPlane")
@dataclass(frozen=True)
class TriPlaneConfig(Settings):
    """Size of the planes (EG3D, arXiv 2112.07945)."""

    resolution: int = bounded(64, 2, 2048)
    """Vertices per side of each plane; EG3D has 256."""
    features: int = bounded(16, 1, 256)
    """Features per vertex; EG3D has 32."""
