"""As little matter as possible."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossConfig, LossTerm
from threefusion.registry import register
from threefusion.schedule import Schedule
from threefusion.types import RenderOutput, ViewBatch


@dataclass(frozen=True)
class SparsityConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = Schedule(((0, 1e-3),))  # noqa: RUF009 (frozen)
    """Factor of the term in the sum, by optimiser step; 1e-3 in DreamFusion, 1 in threestudio."""


@register("sparsity")
class Sparsity(LossTerm):
    """Mean over pixels of sqrt(opacity^2 + 0.01) (DreamFusion, arXiv 2209.14988): empties space nobody needs."""

    def __init__(self, cfg: SparsityConfig) -> None:
        super().__init__(cfg)

    def forward(self, render: RenderOutput, batch: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        return (render.opacity.square() + 0.01).sqrt().mean()
