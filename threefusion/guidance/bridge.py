"""Score distillation in two stages (SDS-Bridge, arXiv 2406.09417)."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.denoiser import ALWAYS, Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import BridgeConfig
from threefusion.registry import build
from threefusion.types import ViewBatch


class Bridge(ScoreDistillation):
    """(1 - mix) (guided prediction - noise) + mix · scale (positive - negative): from layout to appearance as `mix` rises to 1.

    A stage whose share is 0 costs no evaluation.
    """

    cfg: BridgeConfig

    def __init__(self, cfg: BridgeConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.modifiers: Contrast = build(cfg.modifiers)

    @property
    def templates(self) -> tuple[str, ...]:
        """Those of both stages."""
        return (*super().templates, *self.modifiers.templates)

    def combined(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """Both contrasts by their shares."""
        mix = self.cfg.mix(views.step)
        if mix == 0:
            return super().combined(noised, denoiser, views)
        scale = self.cfg.modifiers_scale(views.step)
        second = mix * replace(denoiser, contrast=self.modifiers, scale=scale, interval=ALWAYS).combined(noised)
        return second if mix == 1 else (1 - mix) * super().combined(noised, denoiser, views) + second

    def baseline(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The noise by the share of the first stage."""
        return (1 - self.cfg.mix(views.step)) * super().baseline(noised, denoiser, views)
