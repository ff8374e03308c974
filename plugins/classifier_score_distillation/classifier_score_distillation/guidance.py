"""Classifier score distillation: only the part of classifier-free guidance that distinguishes text from no text."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from classifier_score_distillation.settings import ClassifierScoreDistillationConfig
from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.predictions import Combination, Predictions
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.score import LinearDistillation


@dataclass(frozen=True)
class ImplicitClassifier(Combination):
    """a (text - uncond) + b (uncond - negative), the negative one only where b is not 0."""

    text_scale: float
    negative_scale: float

    def conditions(self, prompt: PromptConditioning) -> dict[str, Conditioning]:
        """A third evaluation only where the negative prompt counts."""
        both = {"uncond": prompt.uncond, "text": prompt.text}
        return both | {"negative": prompt.negative} if self.negative_scale else both

    def combine(self, predicted: Predictions) -> Float[Tensor, "B C h w"]:
        """The implicit classifier's direction, and away from the negative prompt's."""
        direction = self.text_scale * (predicted["text"] - predicted["uncond"])
        if "negative" not in predicted:
            return direction
        return direction + self.negative_scale * (predicted["uncond"] - predicted["negative"])


class ClassifierScoreDistillation(LinearDistillation):
    """w(t) [a (text - uncond) + b (uncond - negative)] of predicted noises (arXiv 2310.19415, section 4).

    The added noise is not in the gradient, which makes it less noisy than score distillation. It has no fixed point of its own:
    on Gaussian priors of equal variance its gradient is the same everywhere.
    """

    def __init__(self, cfg: ClassifierScoreDistillationConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.cfg: ClassifierScoreDistillationConfig = cfg

    def combination(self, views: NoisedViews) -> ImplicitClassifier:
        """Both factors at their schedules' values."""
        return ImplicitClassifier(self.cfg.text_scale(views.step), self.cfg.negative_scale(views.step))
