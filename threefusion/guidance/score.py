"""Score distillation: encode, noise, predict, weight, inject. An objective is a combination of predictions and its residual."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.guidance import DiffusionGuidance, GuidanceOutput, NoisedViews
from threefusion.guidance.predictions import Combination, Predictions, predict
from threefusion.guidance.settings import LinearDistillationConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts

WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sigma2": lambda alpha, sigma: sigma**2,
    "uniform": lambda alpha, sigma: torch.ones_like(sigma),
    "alpha_sigma2": lambda alpha, sigma: alpha * sigma**2,
    "sigma_over_alpha": lambda alpha, sigma: sigma / alpha,
    "alpha_over_sigma": lambda alpha, sigma: alpha / sigma,
    "inv_sigma2": lambda alpha, sigma: 1 / sigma**2,
    "flow": lambda alpha, sigma: 1 + sigma / alpha,
}
"""w(t) by name: `sigma2` DreamFusion; `uniform` SJC; `alpha_sigma2` Latent-NeRF, Fantasia3D; `sigma_over_alpha` distances in x0;
`alpha_over_sigma` makes score distillation the gradient of a sum of KL divergences; `flow` rectified flow."""


class LinearDistillation(DiffusionGuidance):
    """Injects `w(t) * residual` as the gradient of the encoded image; networks are not differentiated (arXiv 2209.14988, eq. 3).

    A new objective overrides `combination`, and `residual` if the combined prediction is not yet its residual.
    """

    cfg: LinearDistillationConfig

    @abstractmethod
    def combination(self, views: NoisedViews) -> Combination:
        """Which predictions are made for these views, and how they are combined."""

    def residual(
        self, views: NoisedViews, combined: Float[Tensor, "B C h w"], predicted: Predictions
    ) -> Float[Tensor, "B C h w"]:
        """The direction, before w(t), in which the encoded views are wrong; called without gradient."""
        return combined

    def forward(self, render: RenderOutput, prompt: ViewTexts, views: ViewBatch) -> GuidanceOutput:
        """A loss whose gradient with respect to the encoded views is `w(t) * residual / B`."""
        x = self.encode(self.image(render), views)
        noised = self.noised(x.detach(), views)
        combination = self.combination(noised)
        with torch.no_grad():
            predicted = predict(self.prior, noised, combination.conditions(self.embed(prompt, views, render)))
            residual = self.residual(noised, combination.combine(predicted), predicted)
            weight = WEIGHTS[self.cfg.timestep_weight](noised.alpha, noised.sigma)
            clip = None if self.cfg.grad_clip is None else self.cfg.grad_clip(views.step)
            gradient, metrics = clip_gradient(weight * residual, clip)
        return GuidanceOutput(score_distillation_loss(x, gradient), metrics | {"t": noised.t.mean()})


def score_distillation_loss(x: Float[Tensor, "B C h w"], gradient: Float[Tensor, "B C h w"]) -> Float[Tensor, ""]:
    """A loss whose gradient with respect to `x` is `gradient / B`, exactly; its value means nothing.

    `sum(x · g) / B` rather than `½‖x - sg(x - g)‖² / B`: the same on paper, but the second subtracts nearly equal numbers, which
    leaves no correct digit in float16. It is an ordinary product, so loss weights and gradient scalers reach it.

    >>> x = torch.zeros(2, 1, 1, 1, requires_grad=True)
    >>> score_distillation_loss(x, torch.full_like(x, 3.0)).backward()
    >>> x.grad.flatten()
    tensor([1.5000, 1.5000])
    """
    return (x.float() * gradient.detach().float()).sum() / x.shape[0]


def clip_gradient(
    gradient: Float[Tensor, "B C h w"], largest: float | None = None
) -> tuple[Float[Tensor, "B C h w"], dict[str, Float[Tensor, ""]]]:
    """The gradient with every element clipped to ±`largest` if given, and metrics.

    The metrics are `grad_norm`, the mean over views of the norm before clipping, and `grad_nonfinite`, the share of non-finite
    elements. These are not clipped but become NaN, so that the step is skipped.

    >>> clipped, metrics = clip_gradient(torch.tensor([[[[3.0, float("inf")]]]]), largest=2.0)
    >>> clipped.flatten(), metrics["grad_norm"].item(), metrics["grad_nonfinite"].item()
    (tensor([2., nan]), inf, 0.5)
    """
    finite = gradient.isfinite()
    metrics = {"grad_norm": gradient.flatten(1).norm(dim=1).mean(), "grad_nonfinite": 1 - finite.float().mean()}
    return (gradient if largest is None else torch.where(finite, gradient.clamp(-largest, largest), torch.nan)), metrics
