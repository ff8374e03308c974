"""Every pixel either filled or empty."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossConfig, LossTerm
from threefusion.registry import register
from threefusion.schedule import Schedule
from threefusion.types import RenderOutput, ViewBatch

_MARGIN = 1e-3


@dataclass(frozen=True)
class OpaquenessConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = Schedule(((0, 1.0),))  # noqa: RUF009 (frozen)
    """Factor of the term in the sum, by optimiser step."""


@register("opaqueness")
class Opaqueness(LossTerm):
    """Mean over pixels of the entropy of opacity, BCE(o, o): almost 0 where a pixel is opaque or empty, ln 2 halfway."""

    def __init__(self, cfg: OpaquenessConfig) -> None:
        super().__init__(cfg)

    def forward(self, render: RenderOutput, batch: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        # the logarithm's derivative has no bound at 0 and 1
        opacity = render.opacity.clamp(_MARGIN, 1 - _MARGIN)
        return -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
