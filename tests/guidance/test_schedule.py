"""Noise schedules: coefficients, ranges of time, conversions."""

import pytest
import torch
from views import make_batch

from threefusion.config import Schedule
from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Prediction
from threefusion.guidance.prior.schedule import RectifiedFlow, VariancePreserving, alphas_cumprod
from threefusion.guidance.settings import DiffusionGuidanceConfig

STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}


def test_noising_keeps_variance_and_is_float32_where_half_precision_fails():
    table = alphas_cumprod(STABLE)
    schedule = VariancePreserving(table)
    x, noise = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
    z = schedule.add_noise(x, noise, torch.tensor([0.0, 0.005]))
    torch.testing.assert_close(z.flatten(), torch.tensor([0.02915, 0.0718]), rtol=2e-3, atol=0)
    assert (1 - table.bfloat16()[0]) == 0
    alpha, sigma = schedule.coefficients(torch.linspace(0, 1, 500))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(500, 1, 1, 1))


@pytest.mark.parametrize("length", [3, 100, 1000, 4096])
def test_every_timestep_of_a_table_survives_as_a_time(length):
    schedule = VariancePreserving(torch.linspace(0.99, 0.01, length))
    steps = torch.arange(length)
    assert torch.equal(schedule.timesteps(steps / length), steps)
    assert schedule.timesteps(torch.ones(1)).item() == length - 1


def test_both_ends_of_a_range_are_drawn_and_nothing_beyond():
    schedule = VariancePreserving(alphas_cumprod(STABLE))
    drawn = torch.cat([schedule.draw(make_batch(64, step).rand_per_group("timestep"), 0.02, 0.03) for step in range(8)])
    assert set(schedule.timesteps(drawn).tolist()) == set(range(20, 31))


@pytest.mark.parametrize(
    "bounds, expected", [((0.0, 1.0), (0, 999)), ((0.5, 0.5), (500, 500)), ((0.29, 0.57), (290, 570)), ((1.0, 1.0), (999, 999))]
)
def test_a_range_ends_at_its_last_timestep(bounds, expected):
    schedule = VariancePreserving(torch.ones(1000))
    drawn = schedule.timesteps(schedule.draw(torch.tensor([0.0, 1.0]), *bounds))
    assert tuple(drawn.tolist()) == expected


@pytest.mark.parametrize(
    "bounds, expected", [((0.0, 1.0), (0, 999)), ((0.5, 0.5), (500, 500)), ((0.29, 0.57), (290, 570)), ((1.0, 1.0), (999, 999))]
)
def test_ranges_are_floors_of_fractions(bounds, expected):
    assert VariancePreserving(torch.ones(1000)).timestep_range(*bounds) == expected


def test_a_range_of_one_hundred_is_not_spoilt_by_rounding():
    assert VariancePreserving(torch.ones(100)).timestep_range(0.29, 0.57) == (29, 57)


def test_a_flow_is_a_straight_line_and_its_shift_keeps_the_ends():
    t = torch.linspace(0, 1, 11)
    alpha, sigma = RectifiedFlow().coefficients(t)
    torch.testing.assert_close(sigma.flatten(), t)
    torch.testing.assert_close(alpha + sigma, torch.ones_like(alpha))
    shifted = RectifiedFlow(3.0).noise_level(torch.tensor([0.0, 0.02, 0.5, 0.98, 1.0]))
    torch.testing.assert_close(shifted, torch.tensor([0.0, 0.0577, 0.75, 0.9932, 1.0]), rtol=1e-3, atol=0)


def test_times_of_a_flow_fill_the_range():
    t = RectifiedFlow(3.0).draw(torch.tensor([0.0, 0.5, 0.999]), 0.2, 0.6)
    torch.testing.assert_close(t, torch.tensor([0.2, 0.4, 0.5996]))


@pytest.mark.parametrize("schedule", [VariancePreserving(alphas_cumprod(COSINE)), RectifiedFlow(), RectifiedFlow(3.0)])
@pytest.mark.parametrize("target", ["noise", "clean", "velocity"])
def test_whatever_was_predicted_noise_clean_sample_and_velocity_come_back(schedule, target):
    x, noise = torch.randn(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.05, 0.3, 0.6, 0.9])
    alpha, sigma = schedule.coefficients(t)
    z = schedule.add_noise(x, noise, t)
    velocity = noise - x if isinstance(schedule, RectifiedFlow) else alpha * noise - sigma * x
    truth = {"noise": noise, "clean": x, "velocity": velocity}
    prediction = Prediction(truth[target], target, z, alpha, sigma, schedule.rates(alpha, sigma))
    for form, value in truth.items():
        torch.testing.assert_close(getattr(prediction, form), value, rtol=1e-3, atol=1e-4)


def test_bounds_that_cross_are_refused_wherever_they_cross():
    DiffusionGuidanceConfig(t_max=Schedule(((0, 0.98), (100, 0.5))))
    with pytest.raises(ValueError, match=r"t_min: .*step 100"):
        DiffusionGuidanceConfig(t_min=Schedule.constant(0.6), t_max=Schedule(((0, 0.98), (100, 0.5))))
    with pytest.raises(ValueError, match="t_max"):
        DiffusionGuidanceConfig(t_max=Schedule.constant(1.2))


@pytest.mark.parametrize(
    "settings",
    [
        STABLE,
        COSINE,
        {"beta_schedule": "linear"},
        STABLE | {"rescale_betas_zero_snr": True},
        {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
    ],
)
def test_schedules_equal_those_of_diffusers(settings):
    from diffusers import DDPMScheduler

    # Theirs is multiplied up in float32, ours in float64.
    torch.testing.assert_close(alphas_cumprod(settings), DDPMScheduler(**settings).alphas_cumprod, rtol=2e-4, atol=2e-8)


@pytest.mark.parametrize("rule", ["laplace", "sigmoid", "exp"])
def test_an_unknown_schedule_is_refused_by_name(rule):
    with pytest.raises(UserError, match=rule):
        alphas_cumprod({"beta_schedule": rule})
