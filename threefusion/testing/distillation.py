"""Contracts of noise, contrast, state and scorer: the parts of a score distillation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from threefusion.config import Settings
from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.denoiser import PLAIN, Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build
from threefusion.testing.samples import gaussian_embeddings, seeded, synthetic_render, views
from threefusion.testing.scene import assert_finite
from threefusion.types import ViewBatch, ViewTexts

SHAPE = (3, 8, 8)


def check_noise(cfg: Settings) -> None:
    """Views and their render -> standard normal noise, a pure function of the views' keys and what they show."""
    noise = build(cfg)
    whole = views(4)
    drawn = noise((4, 32, 32), whole, synthetic_render(whole))
    assert drawn.shape == (4, 4, 32, 32) and drawn.dtype == torch.float32, "noise: float32 of shape [B, *shape]"
    # five standard errors of 4096 values
    assert (drawn.mean((1, 2, 3)).abs() < 5 / 64).all(), "noise: mean 0 in every view"
    assert ((drawn.std((1, 2, 3)) - 1).abs() < 5 / 64 / 2**0.5).all(), "noise: standard deviation 1 in every view"
    assert torch.equal(drawn, noise((4, 32, 32), whole, synthetic_render(whole))), "noise: all randomness comes from the views"
    parts = [noise((4, 32, 32), part, synthetic_render(part)) for part in (views(2), views(2, first=2))]
    assert torch.equal(drawn, torch.cat(parts)), "noise: that of a view does not depend on its batch"


def sample_denoiser(batch: ViewBatch, contrast: Contrast = PLAIN, scale: float = 3.0, split: slice = slice(None)) -> Denoiser:
    """A Gaussian prior with the texts of `sample_prompt` as those of front, side, back and overhead, all of them front views."""
    texts = ViewTexts(("text", "negative", "", "negative"), torch.eye(4)[:1].expand(len(batch), 4), ("negative",))
    whole = gaussian_embeddings(contrast.templates)(texts, contrast.templates)
    prompt = replace(whole.map(lambda part: part[split]), weight=texts.weight[split])
    return Denoiser(build(GaussianConfig(image_size=SHAPE[1])), prompt, contrast, scale, batch.step)


def check_contrast(cfg: Settings) -> None:
    """Predictions under several conditions -> one, with coefficients that sum to 1, or to 0 for a direction."""
    contrast, batch = build(cfg), views(2)
    denoiser = sample_denoiser(batch, contrast)
    x, noise = (torch.randn(2, *SHAPE, generator=seeded(seed)) for seed in (0, 1))
    noised = NoisedViews.along(denoiser.schedule, x, noise, torch.tensor([0.3, 0.7]))
    predicted = denoiser.predictions(noised)
    assert "text" in predicted, "contrast: the prediction under the text is one of those it makes"
    assert denoiser.prior.evaluations.calls == 1, "contrast: all predictions come from one call of the network"
    combined = denoiser.combine(predicted, noised)
    assert combined.shape == x.shape, "contrast: a prediction has the shape of the views"
    assert_finite([combined], "contrast")
    same = denoiser.combine(dict.fromkeys(predicted, noise), noised)
    assert_finite([same], "contrast")
    if not cfg.is_direction:
        assert torch.allclose(same, noise, atol=1e-4), "contrast: of equal predictions it is that one"
    for i in range(2):
        alone = NoisedViews(*(value[i : i + 1] for value in vars(noised).values()))
        part = sample_denoiser(batch, contrast, split=slice(i, i + 1))
        assert torch.allclose(part.combined(alone), combined[i : i + 1], atol=1e-4), (
            "contrast: a view does not depend on its batch"
        )


def check_state(cfg: Settings) -> None:
    """Encoded views, times and noise -> noised views."""
    state, whole = build(cfg), views(2)
    x, noise = (torch.randn(2, *SHAPE, generator=seeded(seed)) for seed in (0, 1))
    t = torch.tensor([0.3, 0.7])

    def noised(batch: ViewBatch, part: slice) -> NoisedViews:
        with torch.no_grad():
            return state(x[part], t[part], noise[part], sample_denoiser(batch), batch)

    made = noised(whole, slice(None))
    assert torch.equal(made.x, x) and torch.equal(made.t, t), "state: the views and their times are kept"
    assert made.z.shape == made.noise.shape == x.shape, "state: z and noise have the shape of the views"
    schedule = sample_denoiser(whole).schedule
    assert all(map(torch.equal, (made.alpha, made.sigma), schedule.coefficients(t))), "state: coefficients are those at t"
    assert_finite([made.z, made.noise], "state")
    again: list[Tensor] = [noised(views(1, first=i), slice(i, i + 1)).z for i in range(2)]
    assert torch.allclose(made.z, torch.cat(again), atol=1e-4), "state: a view does not depend on its batch"


def check_scorer(cfg: Settings) -> None:
    """Clean images -> one score per view, with a finite gradient."""
    scorer = build(cfg)
    texts = ("a red ball, front view", "a blue car, back view")
    scorer.embed_texts([*texts])
    prompt = ViewTexts(texts, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    images = torch.rand(2, 32, 32, 3, generator=seeded(0)).requires_grad_()
    score = scorer(images, prompt)
    assert score.shape == (2,), "scorer: one score per view"
    (gradient,) = torch.autograd.grad(score.sum(), images)
    assert_finite([score, gradient], "scorer")
    assert (gradient.flatten(1).norm(dim=1) > 0).all(), "scorer: the gradient reaches the images"
    for i in range(2):
        alone = scorer(images[i : i + 1], replace(prompt, weight=prompt.weight[i : i + 1]))
        assert torch.allclose(alone, score[i : i + 1], atol=1e-4), "scorer: a view does not depend on its batch"


CONTRACTS: dict[str, Callable[[Settings], None]] = {
    "noise": check_noise,
    "contrast": check_contrast,
    "state": check_state,
    "scorer": check_scorer,
}
"""By kind."""
