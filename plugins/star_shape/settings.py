"""The settings of the geometry `star-shape`; `check` and `describe` load this file alone, which needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config import Settings, bounded, slot
from threefusion.registry import component


@component("geometry", "star-shape", "star_shape.geometry:StarShape", gives=("surface",))
@dataclass(frozen=True)
class StarShapeConfig(Settings):
    """The template and how its vertices move."""

    radius: float = bounded(1.0, 0, 1e3, open_low=True)
    """Radius of the ball round the origin that holds the scene."""
    start: float = bounded(0.5, 0, 1, open_low=True, open_high=True)
    """Radius of the sphere that training starts from, as a share of `radius`."""
    subdivisions: int = bounded(5, 0, 8)
    """Times that the faces of an icosahedron are cut in four: 5 gives 20 480 faces."""
    encoding: Settings = slot("encoding", "hash-grid")
    """How directions and points are encoded before their networks."""
    hidden_width: int = bounded(32, 1, 4096)
    """Width of the hidden layer of both networks."""
