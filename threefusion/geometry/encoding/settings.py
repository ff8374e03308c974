"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.schedule import Schedule


@dataclass(frozen=True)
class FrequencyConfig:
    """Size of the encoding (NeRF, arXiv 2003.08934, eq. 4)."""

    frequencies: int = 10
    """Octaves per coordinate, from one wave across the scene upwards."""
    include_points: bool = True
    """Put the coordinates themselves in front."""

    def __post_init__(self) -> None:
        if not 1 <= self.frequencies <= 20:
            raise ValueError("frequencies: between 1 and 20")


@dataclass(frozen=True)
class IntegratedConfig:
    """Size of the encoding (mip-NeRF, arXiv 2103.13415, section 3.1)."""

    frequencies: int = 12
    """Octaves per coordinate, from one wave across the scene upwards; those finer than a pixel's cone fade out by themselves."""

    def __post_init__(self) -> None:
        if not 1 <= self.frequencies <= 20:
            raise ValueError("frequencies: between 1 and 20")


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
