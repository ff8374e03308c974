"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SolidConfig:
    """Which colour."""

    color: str = "#ffffff"
    """The colour as #rrggbb; a learned one starts there."""
    learned: bool = False
    """Let the optimiser move the colour."""
    random_probability: float = 0.0
    """Probability, in training, that a view gets a random colour instead."""

    def __post_init__(self) -> None:
        if len(self.color) != 7 or self.color[0] != "#" or not all(c in "0123456789abcdefABCDEF" for c in self.color[1:]):
            raise ValueError("color: # and six hexadecimal digits")
        if not 0 <= self.random_probability <= 1:
            raise ValueError("random_probability: between 0 and 1")


@dataclass(frozen=True)
class EnvironmentConfig:
    """Size of the panorama's network."""

    frequencies: int = 4
    """Octaves of the encoding of the direction; few, so that the panorama stays too smooth to paint the object."""
    hidden_width: int = 64
    """Width of the hidden layers, DreamFusion's."""
    hidden_layers: int = 2
    """Number of hidden layers; with the output layer DreamFusion's three."""
    random_probability: float = 0.5
    """Probability, in training, that a view gets a random flat colour instead."""

    def __post_init__(self) -> None:
        limits = {"frequencies": (1, 16), "hidden_width": (1, 1024), "hidden_layers": (0, 8), "random_probability": (0, 1)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: between {low} and {high}")
