"""Score distillation sampling (DreamFusion, arXiv 2209.14988, eq. 3) and its close relatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.combine import rescale_std
from threefusion.guidance.conditions import Condition, Predictions, guided_conditions, guided_noise
from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.linear import LinearDistillation, LinearDistillationConfig
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.registry import register
from threefusion.schedule import Schedule
from threefusion.types import PromptEmbeddings


@dataclass(frozen=True)
class SDSConfig(LinearDistillationConfig):
    """Score distillation sampling."""

    guidance_scale: Schedule = Schedule.constant(101.0)  # noqa: RUF009 (frozen)
    """Classifier-free guidance, uncond + scale (text - uncond); DreamFusion's ω = 100 is 101 here."""
    baseline: Literal["noise", "none"] = "noise"
    """What is subtracted from the prediction: the added noise, which lowers the variance, or nothing (SJC's plain form)."""
    rescale: float = 0.0
    """How far (0 to 1) the contrast of the guided clean image is pulled back to the unguided one's; 0.5 tames over-saturation."""
    clamp_x0: float | None = None
    """Largest absolute value of the predicted clean image in the residual; 1 keeps a pixel prior's colours in range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rescale <= 1:
            raise ValueError("rescale: 0 to 1")
        if self.clamp_x0 is not None and self.clamp_x0 <= 0:
            raise ValueError("clamp_x0: above 0")


@register("sds")
class SDS(LinearDistillation):
    """The prediction under classifier-free guidance minus the added noise.

    A negative prompt takes the place of the empty one. With `weight: uniform` this is SJC with variance reduction (arXiv
    2212.00774); `weight: sigma_over_alpha` with `rescale` is the reconstruction form of MVDream (arXiv 2308.16512).
    """

    def __init__(self, cfg: SDSConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.cfg = cfg

    def conditions(self, embedding: PromptEmbeddings, step: int) -> tuple[Condition, ...]:
        """The text alone at scale 1, else also what it is contrasted with."""
        return guided_conditions(embedding, self.cfg.guidance_scale(step))

    def residual(self, views: NoisedViews, predicted: Predictions) -> Float[Tensor, "B C h w"]:
        """The guided prediction, its clean image rescaled and clamped if asked for, minus the baseline."""
        guided = guided_noise(predicted, self.cfg.guidance_scale(views.step))
        if self.cfg.rescale or self.cfg.clamp_x0 is not None:
            guided = self.through_clean_image(views, guided, predicted.text)
        return guided if self.cfg.baseline == "none" else guided - views.noise

    def through_clean_image(
        self, views: NoisedViews, guided: Float[Tensor, "B C h w"], text: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B C h w"]:
        """The prediction that belongs to the rescaled and clamped clean image x0 = (z - sigma noise) / alpha."""
        clean = (views.z - views.sigma * guided) / views.alpha
        clean = rescale_std(clean, (views.z - views.sigma * text) / views.alpha, self.cfg.rescale)
        if self.cfg.clamp_x0 is not None:
            clean = clean.clamp(-self.cfg.clamp_x0, self.cfg.clamp_x0)
        return (views.z - views.alpha * clean) / views.sigma
