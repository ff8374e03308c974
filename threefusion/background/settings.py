"""Settings of the built-in backgrounds."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings, bounded, check_color
from threefusion.registry import component


@component("background", "solid", "threefusion.background.solid:Solid")
@dataclass(frozen=True)
class SolidConfig(Settings):
    """Which colour."""

    color: str = "#ffffff"
    """The colour as #rrggbb; a learned one starts there."""
    learned: bool = False
    """Let the optimiser move the colour."""
    random_probability: float = bounded(0.0, 0, 1)
    """Probability, in training, that a view gets a random colour instead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_color("color", self.color)


@component("background", "environment", "threefusion.background.environment:Environment")
@dataclass(frozen=True)
class EnvironmentConfig(Settings):
    """Size of the panorama's network."""

    frequencies: int = bounded(4, 1, 16)
    """Octaves of the encoding of the direction; few, so that the panorama stays too smooth to paint the object."""
    hidden_width: int = bounded(64, 1, 1024)
    """Width of the hidden layers, DreamFusion's."""
    hidden_layers: int = bounded(2, 0, 8)
    """Number of hidden layers; with the output layer DreamFusion's three."""
    random_probability: float = bounded(0.5, 0, 1)
    """Probability, in training, that a view gets a random flat colour instead."""
