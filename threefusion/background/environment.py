"""A learned panorama."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.background.background import Background
from threefusion.geometry.encoding.frequency import phases
from threefusion.geometry.mlp import plain_network
from threefusion.registry import register
from threefusion.types import ViewBatch


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


@register("environment")
class Environment(Background):
    """A small network from the encoded direction to a colour (DreamFusion, arXiv 2209.14988)."""

    def __init__(self, cfg: EnvironmentConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.network = plain_network(3 + 6 * cfg.frequencies, 3, cfg.hidden_width, cfg.hidden_layers)

    def forward(self, directions: Float[Tensor, "R 3"], view_index: Int[Tensor, "R"], batch: ViewBatch) -> Float[Tensor, "R 3"]:
        """The panorama along unit directions."""
        phase = phases(directions, self.cfg.frequencies)
        color = self.network(torch.cat([directions, phase.sin(), phase.cos()], -1)).sigmoid().to(directions.dtype)
        return self.sometimes_flat(color, view_index, batch, self.cfg.random_probability)
