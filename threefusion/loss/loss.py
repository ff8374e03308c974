"""The base class of loss terms."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.loss.settings import LossConfig
from threefusion.types import RenderOutput, ViewBatch


class LossTerm(Component):
    """A number to keep small, made from what was rendered.

    A mean over views, never over the pixels or samples of a whole batch: that would change with how views are spread over
    processes.
    """

    kind: ClassVar[str] = "loss"
    needs_normal: ClassVar[bool] = False
    """Whether the renderer has to give normals and samples."""

    def __init__(self, cfg: LossConfig) -> None:
        super().__init__()
        self.cfg = cfg

    @abstractmethod
    def forward(self, render: RenderOutput, batch: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
