"""The base class of backgrounds."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.component import Component
from threefusion.types import ViewBatch


class Background(Component):
    """The colour behind the scene, a function of the ray's direction."""

    kind: ClassVar[str] = "background"
    reads_directions: ClassVar[bool] = True
    """Whether `forward` reads the directions; where it does not, they may be zeros."""

    @abstractmethod
    def forward(
        self, directions: Float[Tensor, "R 3"], view_index: Int[Tensor, "R"], views: ViewBatch, random: bool
    ) -> Float[Tensor, "R 3"]:
        """Colours in [0, 1] seen along unit directions; `view_index` is the ray's view in the batch.

        With `random`, colours may be drawn from the views' generators.
        """

    def sometimes_flat(
        self, color: Float[Tensor, "R 3"], view_index: Int[Tensor, "R"], views: ViewBatch, probability: float
    ) -> Float[Tensor, "R 3"]:
        """The colours, replaced by one random colour per group of views with this probability.

        A scene cannot hide behind a background that keeps changing: its transparent parts show.
        """
        if probability == 0:
            return color
        drawn = views.rand_per_group("background", 4)
        replaced = drawn[:, 0] < probability
        # index_select: several times as fast as an index in brackets
        replaced, drawn = replaced.index_select(0, view_index), drawn[:, 1:].to(color).index_select(0, view_index)
        return torch.where(replaced[:, None], drawn, color)
