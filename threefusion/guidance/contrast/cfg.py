"""Classifier-free guidance (arXiv 2207.12598)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import CFGConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions, cfg_combine, rescale_std
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning


class ClassifierFreeGuidance(Contrast):
    """uncond + scale (text - uncond); a negative prompt replaces the empty one."""

    cfg: CFGConfig

    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """The text alone at scale 1, else also the negative prompt or, without one, the empty prompt."""
        if scale == 1:
            return {"text": prompt.text}
        return {"uncond": prompt.negatives[0] if prompt.negatives else prompt.uncond, "text": prompt.text}

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The guided prediction."""
        if scale == 1:
            return predicted["text"]
        guided = cfg_combine(predicted["uncond"], predicted["text"], scale)
        return rescale_std(guided, predicted["text"], self.cfg.rescale) if self.cfg.rescale else guided
