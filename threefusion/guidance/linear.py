"""Score distillation in general: a residual of predictions, weighed and injected. An objective is its residual."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.conditions import Condition, Predictions, predict
from threefusion.guidance.distill import clean_gradient, score_distillation_loss
from threefusion.guidance.guidance import Guidance, NoisedViews
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.settings import LinearDistillationConfig
from threefusion.types import GuidanceOutput, PromptEmbeddings, ViewBatch


class LinearDistillation(Guidance):
    """Injects `w(t) * residual` as the gradient of the encoded image; networks stay undifferentiated (arXiv 2209.14988, eq. 3).

    A new objective overrides `residual` and, if it needs other predictions than (uncond, text), `conditions`.
    """

    def __init__(self, cfg: LinearDistillationConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.cfg = cfg

    def conditions(self, embedding: PromptEmbeddings, step: int) -> tuple[Condition, ...]:
        """Which predictions `residual` wants; each costs one network evaluation per view."""
        return ("uncond", "text")

    def residual(self, views: NoisedViews, predicted: Predictions) -> Float[Tensor, "B C h w"]:
        """The direction, before w(t), in which the encoded views are wrong; called without gradient."""
        raise NotImplementedError

    def forward(self, image: Float[Tensor, "B H W 3"], embedding: PromptEmbeddings, batch: ViewBatch) -> GuidanceOutput:
        """A loss whose gradient with respect to the encoded views is `w(t) * residual / B`."""
        x = self.encode(image, batch)
        views = self.noised(x.detach(), batch)
        with torch.no_grad():
            predicted = predict(self.prior, views, embedding, self.conditions(embedding, batch.step))
            clip = None if self.cfg.grad_clip is None else self.cfg.grad_clip(batch.step)
            gradient, metrics = clean_gradient(self.weight(views) * self.residual(views, predicted), clip)
        metrics["timestep"] = views.timesteps.float().mean()
        return GuidanceOutput(score_distillation_loss(x, gradient), metrics)
