"""The probability-flow ODE and the states that an inversion leads to, on Gaussians, whose ODE has a solution in closed form."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.ode import ddim_step, invert, solve
from threefusion.guidance.prior.schedule import RectifiedFlow, VariancePreserving
from threefusion.registry import build
from threefusion.testing import views
from threefusion.testing.distillation import sample_denoiser

BATCH = views(2)
X, NOISE = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def gaussian(denoiser, part="text"):
    """Mean (in [-1, 1], [B 3 1 1]) and standard deviation of a Gaussian of the sample prompt."""
    tokens = getattr(denoiser.prompt, part).tokens[:, 0]
    return 2 * tokens[:, :3, None, None] - 1, tokens[:, 3, None, None, None]


def carried(denoiser, z, old, new, part="text"):
    """Where the ODE carries z, exactly: (z - alpha μ) / √(alpha² s² + sigma²) does not change."""
    mean, std = gaussian(denoiser, part)
    scaled = [(alpha * mean, (alpha**2 * std**2 + sigma**2).sqrt()) for alpha, sigma in (old, new)]
    return scaled[1][0] + scaled[1][1] / scaled[0][1] * (z - scaled[0][0])


def state(name, **settings):
    return build(settings_class("state", name)(**settings))


CLEAN = (torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1))


def test_an_inversion_is_of_first_order_and_ends_where_the_ode_leads():
    denoiser = sample_denoiser(BATCH)
    schedule, end = denoiser.schedule, torch.tensor([0.5, 0.7])
    exact = carried(denoiser, X, CLEAN, schedule.coefficients(end))
    errors = []
    for count in (25, 50, 100):
        times = torch.stack([end * (i + 1) / count for i in range(count)])
        errors.append((invert(X, times, schedule, denoiser.text) - exact).abs().max().item())
    assert errors[-1] < 0.15
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2, abs=0.2)


def test_solving_undoes_an_inversion():
    denoiser = sample_denoiser(BATCH)
    times = torch.linspace(0.005, 0.6, 120)[:, None].expand(-1, 2)
    inverted = invert(X, times, denoiser.schedule, denoiser.text)
    again = solve(inverted, times.flip(0), denoiser.schedule, denoiser.text)
    torch.testing.assert_close(again, X, rtol=0, atol=0.1)


def test_a_step_of_ddim_is_the_formula_of_diffusers():
    """On a table of DDIM's own, with and without fresh noise (eta = 1)."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, beta_schedule="scaled_linear", steps_offset=1)
    scheduler.set_timesteps(20)
    t = int(scheduler.timesteps[5])
    before = t - 50
    table = scheduler.alphas_cumprod
    old, new = (VariancePreserving(table).coefficients(torch.full((2,), i / 1000)) for i in (t, before))
    predicted, fresh = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = scheduler.step(predicted, t, X, eta=0.0).prev_sample
    torch.testing.assert_close(ddim_step(X, predicted, old, new), plain, rtol=1e-4, atol=1e-5)
    ancestral = scheduler.step(predicted, t, X, eta=1.0, variance_noise=fresh).prev_sample
    torch.testing.assert_close(ddim_step(X, predicted, old, new, fresh), ancestral, rtol=1e-4, atol=1e-5)


def test_a_step_is_the_same_in_the_picture_of_a_rectified_flow():
    """States that differ by a factor only stay so: the ODE knows sigma / alpha alone."""
    flow = RectifiedFlow()
    old, new = (flow.coefficients(torch.full((2,), s)) for s in (0.6, 0.4))
    preserving = [tuple(value / (pair[0] ** 2 + pair[1] ** 2).sqrt() for value in pair) for pair in (old, new)]
    factors = [pair[0] / flowing[0] for pair, flowing in zip(preserving, (old, new), strict=True)]
    stepped = ddim_step(X * factors[0], NOISE, *preserving)
    torch.testing.assert_close(stepped, ddim_step(X, NOISE, old, new) * factors[1], rtol=1e-5, atol=1e-5)


def test_interval_matching_is_the_difference_of_two_clean_images():
    """With w = sigma / alpha the residual under the empty prompt is x0 at s minus x0 at t."""
    denoiser, t = sample_denoiser(BATCH), torch.tensor([0.5, 0.7])
    made = state("interval", interval=Schedule.constant(0.1))(X, t, NOISE, denoiser, BATCH)
    schedule, s = denoiser.schedule, t - 0.1
    before = NoisedViews(X, ddim_step(made.z, made.noise, (made.alpha, made.sigma), schedule.coefficients(s)), NOISE, s,
                         *schedule.coefficients(s))  # fmt: skip
    torch.testing.assert_close(denoiser.uncond(before.z, s), made.noise, rtol=1e-3, atol=1e-3)
    guided = denoiser.combined(made)
    residual = made.sigma / made.alpha * (guided - made.noise)
    torch.testing.assert_close(residual, before.clean(made.noise) - made.clean(guided), rtol=1e-3, atol=1e-3)


def test_interval_matching_in_closed_form():
    """Inverted exactly, the residual without a prompt is (x - μ) / s (sigma_t / √V_t - sigma_s / √V_s): it leads to μ."""
    denoiser, t = sample_denoiser(BATCH), torch.tensor([0.5, 0.7])
    made = state("interval", interval=Schedule.constant(0.1), stride=0.004)(X, t, NOISE, denoiser, BATCH)
    mean, std = gaussian(denoiser, "uncond")
    shares = []
    for time in (t, t - 0.1):
        alpha, sigma = denoiser.schedule.coefficients(time)
        shares.append(sigma / (alpha**2 * std**2 + sigma**2).sqrt())
    expected = (X - mean) / std * (shares[0] - shares[1])
    residual = denoiser.uncond(made.z, t) - made.noise
    torch.testing.assert_close(residual, expected, rtol=0.05, atol=0.06)


def test_an_interval_of_no_length_leaves_the_contrast_alone():
    denoiser, t = sample_denoiser(BATCH, scale=7.5), torch.tensor([0.4, 0.6])
    made = state("interval", interval=Schedule.constant(0.0))(X, t, NOISE, denoiser, BATCH)
    denoiser = replace(denoiser, prompt=replace(denoiser.prompt, negatives=()))
    uncond, text = denoiser.uncond(made.z, t), denoiser.text(made.z, t)
    torch.testing.assert_close(made.noise, uncond, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(denoiser.combined(made) - made.noise, 7.5 * (text - uncond), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("t", [0.02, 0.05])
def test_an_interval_longer_than_the_time_begins_at_the_first_timestep(t):
    denoiser = sample_denoiser(BATCH)
    made = state("interval", interval=Schedule.constant(0.1))(X, torch.full((2,), t), NOISE, denoiser, BATCH)
    first = torch.zeros(2)
    start = ddim_step(X, denoiser.uncond(X, first), CLEAN, denoiser.schedule.coefficients(first))
    torch.testing.assert_close(made.noise, denoiser.uncond(start, first))


def test_inverted_noise_is_rebuilt_at_t_and_not_where_the_inversion_ended():
    denoiser, t = sample_denoiser(BATCH), torch.tensor([0.5, 0.7])
    made = state("inverted", beyond=0.2, stochasticity=0.0)(X, t, NOISE, denoiser, BATCH)
    torch.testing.assert_close(made.z, made.alpha * X + made.sigma * made.noise)


def test_an_exact_inversion_in_closed_form():
    """κ' = (x - μ) k' + …: on a Gaussian κ is the noise of the carried state, (z' - alpha' x) / sigma'."""
    denoiser, t = sample_denoiser(BATCH), torch.tensor([0.5, 0.7])
    fine = {"guidance_scale": 1.0, "stochasticity": 0.0, "steps": 400}
    made = state("inverted", beyond=0.0, **fine)(X, t, NOISE, denoiser, BATCH)
    carried_to = carried(denoiser, X, CLEAN, (made.alpha, made.sigma))
    torch.testing.assert_close(made.noise, (carried_to - made.alpha * X) / made.sigma, rtol=0, atol=0.06)
    # g = alpha / V (x - μ) (sigma - alpha s² k), with k = (√V / s - alpha) / sigma: the sign of x - μ
    mean, std = gaussian(denoiser)
    variance = made.alpha**2 * std**2 + made.sigma**2
    k = (variance.sqrt() / std - made.alpha) / made.sigma
    expected = made.alpha / variance * (X - mean) * (made.sigma - made.alpha * std**2 * k)
    torch.testing.assert_close(denoiser.text(made.z, t) - made.noise, expected, rtol=0, atol=0.06)


def test_the_fixed_point_of_the_noise_has_no_residual():
    """κ* = sigma (x - μ) / (alpha s²): repeated prediction contracts to it, where prediction and noise agree."""
    denoiser, t = sample_denoiser(BATCH), torch.tensor([0.3, 0.5])
    made = state("refined", iterations=60)(X, t, NOISE, denoiser, BATCH)
    mean, std = gaussian(denoiser)
    fixed = made.sigma * (X - mean) / (made.alpha * std**2)
    torch.testing.assert_close(made.noise, fixed, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(denoiser.text(made.z, t), made.noise, rtol=1e-3, atol=1e-3)


def test_noise_is_added_to_inverted_noise_as_configured():
    denoiser, t = sample_denoiser(BATCH), torch.tensor([0.5, 0.7])
    plain, noisy = (state("inverted", stochasticity=amount)(X, t, NOISE, denoiser, BATCH) for amount in (0.0, 0.3))
    torch.testing.assert_close(noisy.noise - plain.noise, 0.3 * plain.sigma * NOISE, rtol=1e-3, atol=1e-4)
    assert torch.equal(plain.noise, state("inverted", stochasticity=0.0)(X, t, 2 * NOISE, denoiser, BATCH).noise)


def test_an_inversion_never_goes_to_pure_noise():
    denoiser = sample_denoiser(BATCH)
    made = state("inverted", beyond=1.0)(X, torch.full((2,), 0.97), NOISE, denoiser, BATCH)
    assert made.z.isfinite().all() and made.noise.abs().max() < 100
