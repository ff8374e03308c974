"""Tangential damping: the unconditional prediction keeps what it has in common with the conditional one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tangential_damping.settings import TangentialDampingConfig
from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions, cfg_combine
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning


class TangentialDamping(Contrast):
    """Classifier-free guidance from a damped unconditional prediction (TCFG, arXiv 2503.18137).

    The two predictions of a view span a plane. Their first singular vector is the direction that they share; the other one is
    tangential, and the unconditional prediction loses its part along it.
    """

    cfg: TangentialDampingConfig

    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """Two evaluations per view."""
        return {"uncond": prompt.uncond, "text": prompt.text}

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The guided prediction."""
        uncond, text = predicted["uncond"].flatten(1), predicted["text"].flatten(1)
        # in closed form: torch.linalg.svd raises where a prediction has overflowed
        angle = 0.5 * torch.atan2(2 * (uncond * text).sum(1), (uncond**2).sum(1) - (text**2).sum(1))
        shared = normalize(angle.cos()[:, None] * uncond + angle.sin()[:, None] * text, dim=1)
        kept = (uncond * shared).sum(1, keepdim=True) * shared
        damped = torch.lerp(uncond, kept, self.cfg.damping(step)).view_as(predicted["uncond"])
        return cfg_combine(damped, predicted["text"], scale)
