"""Classifier score distillation: only the part of classifier-free guidance that tells text from no text."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from classifier_score_distillation.settings import ClassifierScoreDistillationConfig
from threefusion.guidance.conditions import Condition, Predictions
from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.linear import LinearDistillation
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.types import PromptEmbeddings


class ClassifierScoreDistillation(LinearDistillation):
    """w(t) [a (text - uncond) + b (uncond - negative)] of predicted noises (arXiv 2310.19415, section 4).

    The added noise is not in the gradient, which makes it quieter than score distillation. It knows no goal of its own: on
    Gaussian priors whose variances are equal it pulls the same way for ever.
    """

    def __init__(self, cfg: ClassifierScoreDistillationConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.cfg = cfg

    def conditions(self, embedding: PromptEmbeddings, step: int) -> tuple[Condition, ...]:
        """A third evaluation only where the negative prompt counts."""
        return ("uncond", "text", "negative") if self.cfg.negative_scale(step) else ("uncond", "text")

    def residual(self, views: NoisedViews, predicted: Predictions) -> Float[Tensor, "B C h w"]:
        """The implicit classifier's direction, and away from the negative prompt's."""
        direction = self.cfg.text_scale(views.step) * (predicted.text - predicted.uncond)
        if predicted.negative is None:
            return direction
        return direction + self.cfg.negative_scale(views.step) * (predicted.uncond - predicted.negative)
