"""The base class of everything that a config can name."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn


class Component(nn.Module):
    """A part of the pipeline: an ordinary module whose first constructor parameter is `cfg: SomeFrozenDataclass`.

    The abstract base class of each kind sets `kind`; concrete classes are named with `@register("name")`.
    """

    kind: ClassVar[str] = ""

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Called before every optimiser step; override for state that follows the step (an occupancy grid, say).

        `generator` depends on (seed, step) alone and is the same in every process.
        """
