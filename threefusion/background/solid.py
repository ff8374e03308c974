"""One colour in all directions."""

from __future__ import annotations

import re
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.background.background import Background
from threefusion.background.settings import SolidConfig
from threefusion.types import ViewBatch


class Solid(Background):
    """One colour: fixed, learned, or random per view in training."""

    reads_directions: ClassVar[bool] = False

    def __init__(self, cfg: SolidConfig) -> None:
        super().__init__(cfg)
        color = torch.tensor([int(pair, 16) / 255 for pair in re.findall("..", cfg.color[1:])])
        if cfg.learned:
            # a logit of 0 or 1 would be infinite
            self.logits = nn.Parameter(color.clamp(0.01, 0.99).logit())
        else:
            self.register_buffer("color", color, persistent=False)

    def forward(
        self, directions: Float[Tensor, "R 3"], view_index: Int[Tensor, "R"], views: ViewBatch, random: bool
    ) -> Float[Tensor, "R 3"]:
        """The same colour along every direction of a view."""
        color = self.logits.sigmoid() if self.cfg.learned else self.color
        if not random or self.cfg.random_probability == 0:
            return color.expand_as(directions)
        each = torch.arange(len(views), device=view_index.device)
        colors = self.sometimes_flat(color.expand(len(views), 3), each, views, self.cfg.random_probability)
        return colors.index_select(0, view_index)
