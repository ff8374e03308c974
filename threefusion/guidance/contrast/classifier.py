"""The classifier's part of the score (classifier score distillation, arXiv 2310.19415)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import ClassifierConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning


class Classifier(Contrast):
    """scale (text - uncond) + negative_scale (uncond - negative), equation 9 with ω₁ = scale."""

    cfg: ClassifierConfig

    @property
    def templates(self) -> tuple[str, ...]:
        """The negative words, if they are ever used."""
        return (self.cfg.negative,) if self.cfg.negative_scale.largest > 0 else ()

    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """The text, the empty prompt and, where its scale is not 0, the negative words."""
        conditions = {"uncond": prompt.uncond, "text": prompt.text}
        if self.cfg.negative_scale(step):
            conditions["negative"] = prompt.variants[self.cfg.negative]
        return conditions

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The direction that text and negative words add to the unconditional score."""
        direction = scale * (predicted["text"] - predicted["uncond"])
        if "negative" in predicted:
            direction = direction + self.cfg.negative_scale(step) * (predicted["uncond"] - predicted["negative"])
        return direction
