"""Base class of contrasts: which conditions are evaluated at a state, and how the predictions are combined."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.guidance.contrast.settings import ContrastConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning


class Contrast(Component):
    """Names the conditions it needs and combines their predictions.

    The result is a prediction of the noise, from which an objective subtracts its baseline, or, where `cfg.is_direction`, already
    the direction in which the views are wrong.
    """

    kind: ClassVar[str] = "contrast"
    cfg: ContrastConfig

    @property
    def templates(self) -> tuple[str, ...]:
        """Texts needed beside those of the prompt; in them, {prompt} stands for the text of a view."""
        return ()

    @abstractmethod
    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """Conditions by name, "text" among them; each costs one network evaluation per view."""

    @abstractmethod
    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """One prediction, or one direction, from the predictions under those names."""
