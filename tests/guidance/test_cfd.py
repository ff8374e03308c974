"""Consistent flow distillation: under noise that stays and times that fall, a picture follows the probability-flow ODE."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from views import evaluate, gaussian_texts, make_batch, prompt_of

from threefusion.camera.orbit import orbit_views
from threefusion.config import Schedule
from threefusion.guidance.noise.settings import FixedConfig, SurfaceConfig
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import CFDConfig
from threefusion.testing import image_render
from threefusion.types import RenderOutput

SIZE = 8
STEPS = 1000
FALLING = Schedule(((0, 0.999), (STEPS - 1, 0.0)))
"""Every timestep once."""


def cfd(noise) -> ScoreDistillation:
    """Without guidance, on a Gaussian."""
    times = {"t_min": FALLING, "t_max": FALLING, "guidance_scale": Schedule.constant(1.0)}
    return ScoreDistillation(CFDConfig(noise=noise, **times), GaussianPrior(GaussianConfig(image_size=SIZE)))


def frontal_plane(picture: torch.Tensor, views) -> RenderOutput:
    """The picture on a wall across the view, a unit from the camera."""
    return replace(image_render(picture), depth=torch.ones_like(picture[..., :1]))


def follow(guidance, views, texts) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture at the end and the noise, both as the prior's pixels. A step of gradient descent is as long as log(sigma/alpha)
    falls, which makes it a step of DDIM: dx = (predicted noise - noise) d(sigma/alpha)."""
    guidance.embeddings = texts
    picture = torch.full((1, SIZE, SIZE, 3), 0.5)
    alpha, sigma = guidance.prior.schedule.coefficients(torch.arange(STEPS) / STEPS)
    ratio = (sigma / alpha).flatten()
    for step in range(STEPS):
        picture.requires_grad_()
        now = replace(views, step=step)
        output = guidance(frontal_plane(picture, now), prompt_of(texts, 1), now)
        index = STEPS - 1 - step
        assert output.metrics["t"] == pytest.approx(index / STEPS)
        (gradient,) = torch.autograd.grad(output.loss, picture)
        length = 1 - (ratio[index - 1] / ratio[index] if index else 0)
        # the prior's pixels are 2 picture - 1
        picture = picture.detach() - length * gradient / 4
    noise = guidance.noise(guidance.prior.shape, views, frontal_plane(picture, views))
    return 2 * picture.permute(0, 3, 1, 2) - 1, noise


@pytest.mark.parametrize("noise", [FixedConfig(), SurfaceConfig(lifetime=1e12)], ids=["fixed", "surface"])
def test_the_picture_ends_at_the_sample_that_belongs_to_its_noise(noise):
    views = orbit_views(1, elevation=0.3, distance=2.0, fovy=0.8, height=SIZE, width=SIZE)
    end, epsilon = follow(cfd(noise), views, gaussian_texts((0.7, 0.4), (0.5, 0.4)))
    expected = 0.4 + 0.4 * epsilon
    assert epsilon.std() == pytest.approx(1, abs=0.2)
    assert (end - expected).abs().max() < 0.02 * expected.abs().max()


def test_under_noise_that_is_renewed_the_sample_is_another_one():
    views = orbit_views(1, elevation=0.3, distance=2.0, fovy=0.8, height=SIZE, width=SIZE)
    texts = gaussian_texts((0.7, 0.4), (0.5, 0.4))
    end, epsilon = follow(cfd(SurfaceConfig(lifetime=100.0)), views, texts)
    assert (end - 0.4 - 0.4 * epsilon).abs().mean() > 0.1


def test_one_time_is_drawn_at_each_step_and_it_falls():
    guidance = ScoreDistillation(CFDConfig(), GaussianPrior(GaussianConfig(image_size=SIZE)))
    picture, texts = torch.full((3, SIZE, SIZE, 3), 0.5), gaussian_texts()
    drawn = [guidance.draw_time(make_batch(3, step)) for step in (0, 1000, 2000, 3500, 10_000, 20_000)]
    assert all((t == t[0]).all() for t in drawn)
    times = torch.stack(drawn)[:, 0]
    torch.testing.assert_close(times, torch.tensor([0.98, 0.836, 0.692, 0.548, 0.212, 0.212]), atol=1.1e-3, rtol=0)
    assert evaluate(guidance, picture, texts, make_batch(3)).loss.isfinite()


def test_the_gradient_is_the_distance_to_the_clean_image():
    guidance, texts, views = cfd(FixedConfig()), gaussian_texts(), make_batch(2, 400)
    picture = torch.rand(2, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(evaluate(guidance, picture, texts, views).loss, picture)
    x = guidance.encode(picture.detach(), views)
    t = guidance.draw_time(views)
    z = guidance.prior.schedule.add_noise(x, guidance.noise(guidance.prior.shape, views, image_render(picture)), t)
    clean = guidance.prior.predict(z, t, texts(prompt_of(texts, 2)).text).clean
    torch.testing.assert_close(gradient.permute(0, 3, 1, 2), 2 * (x - clean) / 2, rtol=1e-3, atol=1e-4)
