"""Score distillation sampling (DreamFusion, arXiv 2209.14988, eq. 3) and its close relatives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.predictions import ClassifierFreeGuidance, Predictions, rescale_std
from threefusion.guidance.score import LinearDistillation
from threefusion.guidance.settings import SDSConfig


class SDS(LinearDistillation):
    """The prediction under classifier-free guidance minus the added noise.

    A negative prompt replaces the empty one. With `timestep_weight: uniform` this is SJC with variance reduction (arXiv
    2212.00774); `timestep_weight: sigma_over_alpha` with `rescale` is the reconstruction form of MVDream (arXiv 2308.16512).
    """

    cfg: SDSConfig

    def combination(self, views: NoisedViews) -> ClassifierFreeGuidance:
        """Classifier-free guidance at the scheduled scale."""
        return ClassifierFreeGuidance(self.cfg.guidance_scale(views.step))

    def residual(
        self, views: NoisedViews, combined: Float[Tensor, "B C h w"], predicted: Predictions
    ) -> Float[Tensor, "B C h w"]:
        """The guided prediction, its clean image rescaled and clamped if configured, minus the baseline."""
        if self.cfg.rescale or self.cfg.clamp_x0 is not None:
            combined = self.through_clean_image(views, combined, predicted["text"])
        return combined if self.cfg.baseline == "none" else combined - views.noise

    def through_clean_image(
        self, views: NoisedViews, guided: Float[Tensor, "B C h w"], text: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B C h w"]:
        """The noise prediction that belongs to the rescaled and clamped clean image x0 = (z - sigma noise) / alpha."""
        clean = (views.z - views.sigma * guided) / views.alpha
        clean = rescale_std(clean, (views.z - views.sigma * text) / views.alpha, self.cfg.rescale)
        if self.cfg.clamp_x0 is not None:
            clean = clean.clamp(-self.cfg.clamp_x0, self.cfg.clamp_x0)
        return (views.z - views.alpha * clean) / views.sigma
