"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass, field

KNOWN_FORMATS = ("glb", "obj", "ply", "stl")


@dataclass(frozen=True)
class MeshExporterConfig:
    """Settings of the exporter `mesh`."""

    formats: list[str] = field(default_factory=lambda: ["glb"])
    """Files to write, of glb, obj, ply and stl; glb is always written."""
    resolution: int = 128
    """Samples of the density along each axis of the box round the scene, 16 to 1024."""
    sparse: bool = True
    """Look at a coarse grid first and refine only near the surface; false finds parts thinner than three fine cells too."""
    level: float | None = None
    """Density of the surface; none chooses the one whose silhouettes match the rendered opacity best."""
    smallest_part: float = 0.05
    """Separate parts that enclose less than this share of what the largest does are left out as floaters."""
    max_faces: int = 50_000
    """Upper limit of the number of triangles, at least 100; exceeded only where the surface would otherwise tear."""
    smoothing: int = 3
    """Passes of Taubin smoothing before decimation, 0 to 100."""
    texture_size: int = 512
    """Width and height of the texture in texels, 64 to 8192."""
    color_samples: int = 2
    """Points under each texel whose colours are blended, 1 to 64; they lie as deep as light gets into the field there."""
    views: int = 8
    """Views in which the level is chosen, and as many others in which the result is judged, 1 to 256."""
    view_size: int = 64
    """Width and height of those views in pixels, 16 to 1024."""
    unwrap_seconds: float = 60.0
    """After this time a slow unwrapping method gives way to the next one; above 0."""

    def __post_init__(self) -> None:
        if not self.formats or not set(self.formats) <= set(KNOWN_FORMATS):
            raise ValueError(f"formats: a list of {', '.join(KNOWN_FORMATS)}")
        ranges = {
            "resolution": (16, 1024),
            "max_faces": (100, 100_000_000),
            "smoothing": (0, 100),
            "texture_size": (64, 8192),
            "color_samples": (1, 64),
            "views": (1, 256),
            "view_size": (16, 1024),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: {low} to {high}")
        if not 0 < self.smallest_part <= 1:
            raise ValueError("smallest_part: above 0, up to 1")
        if self.level is not None and self.level <= 0:
            raise ValueError("level: above 0")
        if self.unwrap_seconds <= 0:
            raise ValueError("unwrap_seconds: above 0")
