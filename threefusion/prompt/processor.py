"""Base class of prompt processors: the texts of a run, and the share of each text in every view."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.prompt.settings import PromptConfig
from threefusion.types import Cameras, ViewTexts


class PromptProcessor(Component):
    """Writes the texts of a run and weights them per camera. Each guidance encodes them with its own prior's text encoder."""

    kind: ClassVar[str] = "prompt"
    cfg: PromptConfig

    @abstractmethod
    def view_texts(self) -> list[str]:
        """The texts of views, one per column of `view_weights`."""

    @abstractmethod
    def view_weights(self, camera: Cameras) -> Float[Tensor, "B V"]:
        """Share of each text in every view; rows sum to 1."""

    @property
    def negatives(self) -> tuple[str, ...]:
        """The negative prompts."""
        return (self.cfg.negative,) if self.cfg.negative else ()

    def texts(self) -> list[str]:
        """Every text that has to be encoded, the empty one included."""
        return [*self.view_texts(), "", *self.negatives]

    def forward(self, camera: Cameras) -> ViewTexts:
        """The texts of every view."""
        return ViewTexts(tuple(self.view_texts()), self.view_weights(camera), self.negatives, self.cfg.text)
