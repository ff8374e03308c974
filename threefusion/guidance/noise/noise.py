"""Base class of sources of noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.types import RenderOutput, ViewBatch


class Noise(Component):
    """Standard normal noise in a prior's space, one sample per view."""

    kind: ClassVar[str] = "noise"

    @abstractmethod
    def forward(self, shape: tuple[int, int, int], views: ViewBatch, render: RenderOutput) -> Float[Tensor, "B C h w"]:
        """Noise of `shape` = (C, h, w) for every view, on the views' device; a function of the views' keys and the render."""
