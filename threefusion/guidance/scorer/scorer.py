"""Base class of scorers: what is better in an image, beside what the prior says of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.guidance.scorer.settings import ScorerConfig
from threefusion.types import ViewTexts


class Scorer(Component):
    """A differentiable score of the clean images that a prior predicts: a reward model, or a classifier of views."""

    kind: ClassVar[str] = "scorer"
    cfg: ScorerConfig

    def embed_texts(self, texts: list[str]) -> None:
        """Encode all texts of the run; called once, before the first step."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "B H W 3"], prompt: ViewTexts) -> Float[Tensor, "B"]:
        """The score of each view, higher is better; colours are in [0, 1] or slightly outside."""
