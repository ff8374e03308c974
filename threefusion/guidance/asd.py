"""Asynchronous score distillation (ScaleDreamer, arXiv 2407.02040)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import LATEST, NoisedViews
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import ASDConfig
from threefusion.types import ViewBatch


class ASD(ScoreDistillation):
    """The guided prediction at t minus the prediction under the text at a later time, on the same noise (eq. 8).

    The prior at a later time stands for the fine-tuned network of variational score distillation.
    """

    cfg: ASDConfig

    def baseline(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The prediction at t + Δ, Δ between 0 and `shift` (t - t_min)."""
        later = self.cfg.shift(views.step) * (noised.t - self.cfg.t_min(views.step)).clamp(min=0)
        t = (noised.t + views.rand_per_group("shift") * later).clamp(max=max(LATEST, self.cfg.t_max(views.step)))
        return denoiser.text(denoiser.schedule.add_noise(noised.x, noised.noise, t), t)
