"""Settings of the built-in exporters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from threefusion.config.fields import Settings, bounded, literal
from threefusion.exporter.length import parse_length
from threefusion.registry import component

Format = Literal["glb", "obj", "ply", "stl", "3mf", "usdz"]
FORMATS: tuple[str, ...] = get_args(Format)
Convention = Literal["opengl", "directx"]
NORMALS: tuple[str, ...] = get_args(Convention)


@component("exporter", "mesh", "threefusion.exporter.mesh:MeshExporter", needs=("density|distance|surface",))
@dataclass(frozen=True)
class MeshExporterConfig(Settings):
    """Settings of the exporter `mesh`."""

    formats: list[Format] = field(default_factory=lambda: ["glb"])
    """Files to write; glb is always written. 3mf needs lib3mf and usdz needs usd-core, which the extra `export` installs."""
    height: str | None = literal(None)
    """Physical height, such as `0.3m`, `30cm` or `12in`; none makes a scene unit a metre, and STL and 3MF 100 mm
    large."""
    on_floor: bool = False
    """Whether the object stands on the floor, its lowest point at height 0 and its middle above the origin; in STL and 3MF
    it always does."""
    web: bool = False
    """Whether to write `model.web.glb` too, about half as large, for viewers that know its extensions."""
    resolution: int = bounded(128, 16, 1024)
    """Samples of the density or distance along each axis of the box round the scene."""
    sparse: bool = True
    """Look at a coarse grid first and refine only near the surface; false finds parts thinner than three fine cells too."""
    level: float | None = bounded(None, 0, 1e9, open_low=True)
    """Density of the surface; none chooses one whose silhouettes match the rendered opacity."""
    smallest_part: float = bounded(0.05, 0, 1, open_low=True)
    """Separate parts that enclose less than this share of what the largest does are left out as floaters."""
    max_faces: int = bounded(10_000, 100, 100_000_000)
    """Upper limit of the number of triangles; exceeded only where fewer would change the topology."""
    smoothing: int = bounded(3, 0, 100)
    """Passes of Taubin smoothing before decimation."""
    texture: Literal["image", "vertex"] = "image"
    """`image`: every texture of the material as an image; `vertex`: one colour per vertex, and no texture coordinates."""
    texture_size: int = bounded(512, 64, 8192)
    """Width and height of the texture in texels."""
    normal_map: bool | None = None
    """Whether to bake normals of the surface before decimation as a normal map; none: if the material has normals of its own, or
    `normal` is `directx`."""
    normal: Convention = "opengl"
    """`directx` also writes the normal map as `model_normal.png` with green downward; GLB and USDZ have green upward by
    definition."""
    color_samples: int = bounded(2, 1, 64)
    """Points under each texel whose colours are blended; they lie as deep as light gets into the field there."""
    color_views: int = bounded(24, 0, 1024)
    """Views from all sides to which the colours of a density or a signed distance are fitted; 0: as they were sampled."""
    views: int = bounded(8, 1, 256)
    """Views in which the level is chosen, and as many others in which the result is scored."""
    view_size: int = bounded(96, 16, 1024)
    """Width and height of those views, and of those for the colours, in pixels."""
    unwrap_seconds: float = bounded(30.0, 0, 1e6, open_low=True)
    """After this time unwrapping stops, and every two faces get a chart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.formats:
            raise ValueError("formats: expected at least one")
        if self.height is not None:
            try:
                parse_length(self.height)
            except ValueError as error:
                raise ValueError(f"height: {error}") from None
        if self.normal == "directx" and (self.texture == "vertex" or self.normal_map is False):
            raise ValueError("normal: directx needs a normal map, hence texture: image, and normal_map: true or none")


@component("exporter", "retextured", "threefusion.exporter.retextured:RetexturedExporter", needs=("texels",))
@dataclass(frozen=True)
class RetexturedExporterConfig(Settings):
    """The exporter `retextured` has no settings: the file is the user's own."""
