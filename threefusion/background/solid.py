"""One colour in all directions."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.background.background import Background
from threefusion.registry import register
from threefusion.types import ViewBatch


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


@register("solid")
class Solid(Background):
    """One colour: fixed, learned, or random per view in training."""

    def __init__(self, cfg: SolidConfig) -> None:
        super().__init__()
        self.cfg = cfg
        color = torch.tensor([int(pair, 16) / 255 for pair in re.findall("..", cfg.color[1:])])
        if cfg.learned:
            # a logit of 0 or 1 would be infinite
            self.logits = nn.Parameter(color.clamp(0.01, 0.99).logit())
        else:
            self.register_buffer("color", color, persistent=False)

    def forward(self, directions: Float[Tensor, "R 3"], view_index: Int[Tensor, "R"], batch: ViewBatch) -> Float[Tensor, "R 3"]:
        """The same colour along every direction of a view."""
        color = self.logits.sigmoid() if self.cfg.learned else self.color
        return self.sometimes_flat(color.expand_as(directions), view_index, batch, self.cfg.random_probability)
