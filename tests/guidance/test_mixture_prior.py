"""The mixture in closed form against its log-density, and what modes do to score distillation."""

import pytest
import torch
from views import make_batch

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.mixture import MixturePrior
from threefusion.guidance.prior.schedule import VariancePreserving, alphas_cumprod
from threefusion.guidance.prior.settings import GaussianConfig, MixtureConfig
from threefusion.registry import build
from threefusion.testing import image_render
from threefusion.types import ViewTexts

T = torch.tensor([0.1, 0.5, 0.9])
Z = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_the_predicted_noise_is_the_scaled_score_of_the_mixture():
    prior = build(MixtureConfig(modes=("#d9402b", "#2b5fd9", "#2bd95f"), image_size=4))
    condition = prior.text_encoder().encode(["a", "", "b"])
    alpha, sigma = prior.schedule.coefficients(T)
    z = Z.clone().double().requires_grad_()
    densities = []
    for row, (a, s) in enumerate(zip(alpha.flatten().double(), sigma.flatten().double(), strict=True)):
        modes = [token for token in condition.tokens[row].double() if token[4] == 0]
        parts = []
        for token in modes:
            scale = (a**2 * token[3] ** 2 + s**2).sqrt()
            mean = (a * (2 * token[:3] - 1)).view(3, 1, 1).expand(3, 4, 4)
            parts.append(torch.distributions.Normal(mean, scale).log_prob(z[row]).sum())
        densities.append(torch.stack(parts).logsumexp(0))
    (score,) = torch.autograd.grad(torch.stack(densities).sum(), z)
    predicted = prior.predict(Z, T, condition).noise
    torch.testing.assert_close(predicted.double(), -sigma.double() * score, rtol=1e-4, atol=1e-4)


def test_one_mode_is_the_gaussian():
    color = (0x33 / 255, 0x66 / 255, 0x99 / 255)
    gaussian = GaussianPrior(GaussianConfig(mean=color, uncond_mean=color, std=0.3, uncond_std=0.3, image_size=4))
    mixture = build(MixtureConfig(modes=("#336699",), uncond_modes=("#336699",), std=0.3, uncond_std=0.3, image_size=4))
    expected, found = (prior.predict(Z, T, prior.text_encoder().encode(["a"] * 3)).noise for prior in (gaussian, mixture))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("field", ["modes", "uncond_modes"])
@pytest.mark.parametrize("value", [(), ("red",), ("#d9402b", "#2b5fd")])
def test_what_is_no_colour_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field}: expected"):
        MixtureConfig(**{field: value})


class Points(MixturePrior):
    """A mixture in one dimension, of modes at -2 and 2, for as many points as there are views."""

    shape = (1, 1, 1)

    def read_schedule(self):
        betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        return VariancePreserving(alphas_cumprod(betas))

    def encode(self, rgb, noise=None):
        return rgb[:, :1, :1, :1].permute(0, 3, 1, 2)

    def _predict(self, z, t, condition):
        alpha, sigma = self.schedule.coefficients(t)
        modes = torch.tensor([-2.0, 2.0])
        variance = alpha**2 * 0.2**2 + sigma**2
        share = (-((z - alpha * modes) ** 2) / (2 * variance)).softmax(-1)
        return sigma * (z - alpha * (share * modes).sum(-1, keepdim=True)) / variance


def settled(start, t_min, t_max, count=32, steps=250):
    """Where points that start at `start` end, under score distillation between two times, with a decaying rate."""
    prior = Points(MixtureConfig(image_size=1))
    cfg = settings_class("guidance", "sds")
    guidance = build(
        cfg(guidance_scale=Schedule.constant(1.0), t_min=Schedule.constant(t_min), t_max=Schedule.constant(t_max)), prior
    )
    guidance.embed_texts(["text", ""])
    points = torch.full((count, 1, 1, 3), float(start))
    prompt = ViewTexts(("text",), torch.ones(count, 1))
    for step in range(steps):
        points = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(guidance(image_render(points), prompt, make_batch(count, step)).loss, points)
        points = points - 0.3 / (1 + step / 50) * count * gradient.sum(-1, keepdim=True)
    return points.detach()[:, 0, 0, 0]


@pytest.mark.parametrize(("t_min", "t_max", "end"), [(0.02, 0.98, 1.04), (0.02, 0.5, 1.8), (0.7, 0.98, 0.0)])
def test_low_times_find_modes_and_high_ones_their_mean(t_min, t_max, end):
    """The average over all times is a compromise, not the mode; computed on Stable Diffusion's schedule with w = sigma²."""
    for side in (-1, 1):
        assert settled(1.5 * side, t_min, t_max).mean().item() == pytest.approx(side * end, abs=0.12)


def test_independent_points_collapse_where_the_prior_spreads():
    """Mode seeking: samples of the prior spread with 2 around each other, its distilled points hardly at all."""
    assert settled(1.5, 0.02, 0.5).std() < 0.15


def test_conditioning_of_mixtures_can_be_put_side_by_side():
    prior = build(MixtureConfig(image_size=4))
    tokens = prior.text_encoder().encode(["a", ""]).tokens
    assert tokens.shape == (2, 2, 5) and len(Conditioning.cat([Conditioning(tokens)] * 2)) == 4
