"""Adaptive projected guidance (APG, arXiv 2410.02416)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.cfg import ClassifierFreeGuidance
from threefusion.guidance.contrast.settings import ProjectedConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions, perpendicular
from threefusion.guidance.prior.conditioning import PromptConditioning


class Projected(ClassifierFreeGuidance):
    """text + (scale - 1) (⊥ + eta ∥), the parts of text - uncond perpendicular and parallel to the clean image under the text.

    The parallel part raises the contrast of the clean image, which is over-saturation. The paper's momentum is left out: it links
    neighbouring steps of one sample, and steps of a training show other views at other noise.
    """

    cfg: ProjectedConfig

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The guided prediction; in noises, where a difference of clean images is -sigma / alpha times as large."""
        text = predicted["text"]
        if scale == 1:
            return text
        difference = text - predicted["uncond"]
        across = perpendicular(difference, views.z - views.sigma * text)
        update = across + self.cfg.eta * (difference - across)
        if self.cfg.max_norm is not None:
            norm = views.sigma * difference.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            update = update * (self.cfg.max_norm * views.alpha / norm.clamp(min=1e-12)).clamp(max=1)
        return text + (scale - 1) * update
