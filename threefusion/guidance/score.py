"""Score distillation: encode, noise, predict, weight, inject. Methods differ in state, noise, contrast, baseline and weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.guidance import DiffusionGuidance, GuidanceOutput, Seen
from threefusion.guidance.noise.noise import Noise
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.ode import solve
from threefusion.guidance.predictions import rescale_std
from threefusion.guidance.prior.image import resize
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.scorer.scorer import Scorer
from threefusion.guidance.settings import ScoreDistillationConfig
from threefusion.guidance.state.state import State
from threefusion.registry import build
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


class ScoreDistillation(DiffusionGuidance):
    """Injects w(t) (contrast - baseline) as the gradient of the encoded image (DreamFusion, arXiv 2209.14988, eq. 3).

    Networks are not differentiated. A method is a choice of `state`, `noise`, `contrast`, weight and times, mostly in settings
    alone; a subclass overrides `baseline` for one that subtracts something else than the noise.
    """

    cfg: ScoreDistillationConfig

    def __init__(self, cfg: ScoreDistillationConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.state: State = build(cfg.state)
        self.noise: Noise = build(cfg.noise)
        self.contrast: Contrast = build(cfg.contrast)
        self.scorer: Scorer | None = None if cfg.scorer is None else build(cfg.scorer)

    @property
    def templates(self) -> tuple[str, ...]:
        """The contrast's."""
        return self.contrast.templates

    def embed_texts(self, texts: list[str]) -> None:
        """Encode the texts, for the prior and for the scorer."""
        super().embed_texts(texts)
        if self.scorer is not None:
            self.scorer.embed_texts(texts)

    def forward(self, render: RenderOutput, prompt: ViewTexts, views: ViewBatch) -> GuidanceOutput:
        """A loss whose gradient with respect to the encoded views is `w(t) * (contrast - baseline) / B`."""
        image = self.image(render)
        x = self.encode(image, views)
        with torch.no_grad():
            denoiser = self.denoiser(prompt, views, render)
            noise = self.noise(self.prior.shape, views, render)
            noised = self.state(x.detach(), self.draw_time(views), noise, denoiser, views)
            combined = self.combined(noised, denoiser, views)
            direction = self.cfg.contrast.is_direction
            residual = combined if direction else combined - self.baseline(noised, denoiser, views)
            weight = WEIGHTS[self.cfg.timestep_weight](noised.alpha, noised.sigma)
            gradient, scores = self.with_score(weight * residual, noised, combined, prompt, views.step)
            gradient, metrics = self.condition_gradient(gradient, views.step)
        loss = score_distillation_loss(x, gradient)
        if image_weight := self.cfg.image_weight(views.step):
            loss = loss + image_weight * self.image_loss(image, weight, noised, combined)
        seen = Seen(noised, None if direction else combined, gradient)
        return GuidanceOutput(loss, metrics | scores | {"t": noised.t.mean()}, self.critic_loss(noised, denoiser, views), seen)

    def denoiser(self, prompt: ViewTexts, views: ViewBatch, render: RenderOutput | None = None) -> Denoiser:
        """The prior with these views' prompt and the contrast at the scheduled scale and times."""
        scale, step = self.cfg.guidance_scale(views.step), views.step
        return Denoiser(self.prior, self.embed(prompt, views, render), self.contrast, scale, step, self.interval(step))

    def interval(self, step: int) -> tuple[float, float]:
        """The times at which the contrast applies."""
        return self.cfg.guidance_t_min(step), self.cfg.guidance_t_max(step)

    def combined(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The contrast; through the clean image where that is solved for, rescaled or clamped."""
        steps = self.cfg.denoising_steps
        if steps == 1:
            predicted = denoiser.predictions(noised)
            combined = denoiser.combine(predicted, noised)
            if not self.cfg.rescale and self.cfg.clamp_x0 is None:
                return combined
            clean, text = noised.clean(combined), noised.clean(predicted["text"])
            clean = rescale_std(clean, text, self.cfg.rescale, self.prior.group_size)
        else:
            times = torch.stack([noised.t * (1 - i / steps) for i in range(steps)])
            fresh = (lambda i: views.randn(f"denoising/{i}", *noised.x.shape[1:])) if self.cfg.ancestral else None
            schedule = self.prior.schedule
            clean = solve(noised.z, times, schedule, lambda z, t: denoiser.combined(noised.at(z, t, schedule)), fresh)
        if self.cfg.clamp_x0 is not None:
            clean = clean.clamp(-self.cfg.clamp_x0, self.cfg.clamp_x0)
        return (noised.z - noised.alpha * clean) / noised.sigma

    def baseline(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """What is subtracted from a contrast that predicts the noise; called without gradient."""
        return noised.noise if self.cfg.baseline == "noise" else torch.zeros_like(noised.noise)

    def critic_loss(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, ""] | None:
        """The loss of what the objective trains itself, on the views without gradient; nothing by default."""
        return None

    def with_score(
        self,
        gradient: Float[Tensor, "B C h w"],
        noised: NoisedViews,
        combined: Float[Tensor, "B C h w"],
        prompt: ViewTexts,
        step: int,
    ) -> tuple[Float[Tensor, "B C h w"], dict[str, Float[Tensor, ""]]]:
        """The gradient, to which the scorer adds minus that of its score of the clean image, scaled to the gradient's own length;
        and the score, to log.

        The clean image stands for the view as it does in the residual: the network is not differentiated. RecDreamer (arXiv
        2502.12640) adds the gradient of its classifier with this length.
        """
        if self.scorer is None or not (share := self.scorer.cfg.weight(step)):
            return gradient, {}
        with torch.enable_grad():
            clean = noised.clean(combined).detach().requires_grad_()
            score = self.scorer(self.prior.decode(clean), prompt)
            (wanted,) = torch.autograd.grad(score.sum(), clean)
        length, own = (value.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for value in (wanted, gradient))
        return gradient - share * own / length.clamp_min(1e-12) * wanted, {"score": score.detach().mean()}

    def condition_gradient(
        self, gradient: Float[Tensor, "B C h w"], step: int
    ) -> tuple[Float[Tensor, "B C h w"], dict[str, Float[Tensor, ""]]]:
        """The gradient, normalised and clipped as configured, and metrics of it as it was before."""
        clipped, metrics = clip_gradient(gradient, None if self.cfg.grad_clip is None else self.cfg.grad_clip(step))
        if self.cfg.normalize:
            norm = clipped.flatten(1).norm(dim=1).clamp(min=1e-12)
            clipped = clipped / norm.view(-1, 1, 1, 1)
        return clipped, metrics

    def image_loss(
        self,
        image: Float[Tensor, "B H W 3"],
        weight: Float[Tensor, "B 1 1 1"],
        noised: NoisedViews,
        combined: Float[Tensor, "B C h w"],
    ) -> Float[Tensor, ""]:
        """½ w(t) alpha/sigma ‖image - decoded clean image‖², a mean over views: the residual in the image's space (HiFA, arXiv
        2305.18766, eq. 9), weighted as the one in the prior's space is."""
        with torch.no_grad():
            target = self.prior.decode(noised.clean(combined))
            weight = 0.5 * weight * noised.alpha / noised.sigma
        return (weight * (resize(image.float(), target.shape[1]) - target).square()).sum() / len(image)


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
