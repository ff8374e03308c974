"""The base class of loss terms."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.loss.settings import LossConfig
from threefusion.types import RenderOutput, ViewBatch, Want


class LossTerm(Component):
    """A scalar to minimise, computed from a render.

    A mean over views, never over the pixels or samples of a whole batch: that would change with how views are spread over
    processes.
    """

    kind: ClassVar[str] = "loss"
    cfg: LossConfig
    wants: ClassVar[Want] = Want()
    """What the render has to contain beside image, opacity and depth."""

    @abstractmethod
    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
