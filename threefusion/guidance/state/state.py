"""Base class of states: how the noised views come about that a prior is evaluated at."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.types import ViewBatch


class State(Component):
    """Turns encoded views into noised ones; called without gradient."""

    kind: ClassVar[str] = "state"

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        noise: Float[Tensor, "B C h w"],
        denoiser: Denoiser,
        views: ViewBatch,
    ) -> NoisedViews:
        """The views at time t; `noise` is what the objective's source of noise drew."""
