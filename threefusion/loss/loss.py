"""The base class of loss terms."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float, Int
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

    def own_views(self, views: ViewBatch) -> ViewBatch | None:
        """Views that are rendered for this term alone, and given to it in place of the batch; None for those of the batch."""
        return None

    @abstractmethod
    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""


def mean_over_views(values: Float[Tensor, "N"], view_index: Int[Tensor, "N"], views: int) -> Float[Tensor, ""]:
    """Mean over views of the mean of each view's values, 0 for a view without any.

    >>> import torch
    >>> mean_over_views(torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 1]), 3)
    tensor(4.)
    """
    total = values.new_zeros(views).index_add(0, view_index, values)
    count = values.new_zeros(views).index_add(0, view_index, values.detach() * 0 + 1)
    return (total / count.clamp_min(1)).mean()
