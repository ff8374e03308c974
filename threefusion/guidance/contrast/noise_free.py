"""The score without its noise (noise-free score distillation, arXiv 2310.17590)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import NoiseFreeConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning


class NoiseFree(Contrast):
    """domain + scale (text - uncond): the domain's direction is uncond at little noise, else uncond - negative.

    At little noise the unconditional prediction has hardly any noise in it. At much noise the prediction for images of no domain
    takes the noise away (equations 8 to 10).
    """

    cfg: NoiseFreeConfig

    @property
    def templates(self) -> tuple[str, ...]:
        """The negative words."""
        return (self.cfg.negative,)

    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """The text, the empty prompt and the negative words."""
        return {"uncond": prompt.uncond, "text": prompt.text, "negative": prompt.variants[self.cfg.negative]}

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The direction towards the domain and the text."""
        uncond = predicted["uncond"]
        # by the ratio of signal and noise, which is the same on every kind of schedule
        little = views.alpha**2 / (views.alpha**2 + views.sigma**2) > self.cfg.threshold
        domain = torch.where(little, uncond, uncond - predicted["negative"])
        return domain + scale * (predicted["text"] - uncond)
