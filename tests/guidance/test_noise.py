"""Noising, weights and timestep ranges."""

import typing

import pytest
import torch
from views import make_batch

from threefusion.config import Schedule
from threefusion.guidance.noise import WEIGHTS, add_noise, draw_timesteps, timestep_range, weight
from threefusion.guidance.prior.conversion import alphas_cumprod
from threefusion.guidance.settings import GuidanceConfig

STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("sigma2", (0.0187, 0.724, 0.994)),
        ("uniform", (1.0, 1.0, 1.0)),
        ("alpha_sigma2", (0.0185, 0.380, 0.0760)),
        ("sigma_over_alpha", (0.138, 1.62, 13.0)),
        ("inv_sigma2", (53.5, 1.38, 1.01)),
        ("alpha_over_sigma", (7.25, 0.618, 0.0767)),
        ("flow", (1.14, 2.62, 14.0)),
    ],
)
def test_weights_of_stable_diffusion(name, expected):
    values = weight(name, alphas_cumprod(STABLE), torch.tensor([20, 500, 980])).flatten()
    torch.testing.assert_close(values, torch.tensor(expected), rtol=5e-3, atol=0)


def test_every_weight_can_be_configured_and_no_other():
    annotation = typing.get_type_hints(GuidanceConfig)["weight"]
    assert set(typing.get_args(annotation)) == set(WEIGHTS)


def test_noising_keeps_variance_and_is_float32_where_half_precision_fails():
    table = alphas_cumprod(STABLE)
    x, noise = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
    z = add_noise(x, noise, torch.tensor([0, 5]), table)
    torch.testing.assert_close(z.flatten(), torch.tensor([0.02915, 0.0718]), rtol=2e-3, atol=0)
    assert (1 - table.bfloat16()[0]) == 0
    torch.testing.assert_close(add_noise(noise, noise, torch.tensor([300, 800]), table).square().sum(), 2 + 2 * (
        table[[300, 800]].sqrt() * (1 - table[[300, 800]]).sqrt()
    ).sum())  # fmt: skip


def test_both_ends_of_a_range_are_drawn_and_nothing_beyond():
    drawn = torch.cat([draw_timesteps(make_batch(64, step), 0.02, 0.03, 1000) for step in range(8)])
    assert set(drawn.tolist()) == set(range(20, 31))


@pytest.mark.parametrize(
    "bounds, expected", [((0.0, 1.0), (0, 999)), ((0.5, 0.5), (500, 500)), ((0.29, 0.57), (290, 570)), ((1.0, 1.0), (999, 999))]
)
def test_ranges_are_floors_of_fractions(bounds, expected):
    assert timestep_range(*bounds, 1000) == expected


def test_a_range_of_one_hundred_is_not_spoilt_by_rounding():
    assert timestep_range(0.29, 0.57, 100) == (29, 57)


def test_bounds_that_cross_are_refused_wherever_they_cross():
    GuidanceConfig(t_max=Schedule(((0, 0.98), (100, 0.5))))
    with pytest.raises(ValueError, match=r"t_min: .*step 100"):
        GuidanceConfig(t_min=Schedule.constant(0.6), t_max=Schedule(((0, 0.98), (100, 0.5))))
    with pytest.raises(ValueError, match="t_min"):
        GuidanceConfig(t_max=Schedule.constant(1.2))


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
