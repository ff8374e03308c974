"""The direction between two descriptions of one thing (SDS-Bridge, arXiv 2406.09417)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import ModifiersConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning


class Modifiers(Contrast):
    """scale (positive - negative): from what a finished scene of score distillation looks like to what it should look like."""

    cfg: ModifiersConfig

    @property
    def templates(self) -> tuple[str, ...]:
        """Both descriptions."""
        return (self.cfg.positive, self.cfg.negative)

    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """The two descriptions."""
        return {"text": prompt.variants[self.cfg.positive], "negative": prompt.variants[self.cfg.negative]}

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The direction from the negative to the positive description."""
        return scale * (predicted["text"] - predicted["negative"])
