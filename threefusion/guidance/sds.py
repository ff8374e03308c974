"""Score distillation sampling (DreamFusion, arXiv 2209.14988, eq. 3) and its close relatives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.combine import rescale_std
from threefusion.guidance.conditions import Condition, Predictions, guided_conditions, guided_noise
from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.linear import LinearDistillation
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.settings import SDSConfig
from threefusion.types import PromptEmbeddings


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
