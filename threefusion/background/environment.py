"""A learned environment map: an MLP on the ray direction."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.background.background import Background
from threefusion.background.settings import EnvironmentConfig
from threefusion.geometry.encoding.frequency import phases
from threefusion.geometry.mlp import plain_network
from threefusion.types import ViewBatch


class Environment(Background):
    """A small network from the encoded direction to a colour (DreamFusion, arXiv 2209.14988)."""

    def __init__(self, cfg: EnvironmentConfig) -> None:
        super().__init__(cfg)
        self.network = plain_network(3 + 6 * cfg.frequencies, 3, cfg.hidden_width, cfg.hidden_layers)

    def forward(
        self, directions: Float[Tensor, "R 3"], view_index: Int[Tensor, "R"], views: ViewBatch, random: bool
    ) -> Float[Tensor, "R 3"]:
        """The panorama along unit directions."""
        phase = phases(directions, self.cfg.frequencies)
        color = self.network(torch.cat([directions, phase.sin(), phase.cos()], -1)).sigmoid().to(directions.dtype)
        return self.sometimes_flat(color, view_index, views, self.cfg.random_probability) if random else color
