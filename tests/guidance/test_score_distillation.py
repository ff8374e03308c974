"""The weights w(t) and the injected gradient."""

import typing

import pytest
import torch

from threefusion.guidance.prior.schedule import VariancePreserving, alphas_cumprod
from threefusion.guidance.score import WEIGHTS, clip_gradient, score_distillation_loss
from threefusion.guidance.settings import DiffusionGuidanceConfig

STABLE = VariancePreserving(alphas_cumprod({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}))


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
    values = WEIGHTS[name](*STABLE.coefficients(torch.tensor([0.02, 0.5, 0.98]))).flatten()
    torch.testing.assert_close(values, torch.tensor(expected), rtol=5e-3, atol=0)


def test_every_weight_can_be_configured_and_no_other():
    annotation = typing.get_type_hints(DiffusionGuidanceConfig)["timestep_weight"]
    assert set(typing.get_args(annotation)) == set(WEIGHTS)


def injected(x, gradient):
    x = x.clone().requires_grad_()
    score_distillation_loss(x, gradient).backward()
    return x.grad


def test_the_gradient_arrives_divided_by_the_number_of_views():
    x, gradient = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(injected(x, gradient), gradient / 4, rtol=0, atol=0)


def test_it_agrees_with_the_squared_error_form_where_that_form_is_accurate():
    x, gradient = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    twin = x.clone().requires_grad_()
    (0.5 * (twin - (twin - gradient).detach()).square().sum() / len(x)).backward()
    torch.testing.assert_close(injected(x, gradient).double(), twin.grad, rtol=1e-6, atol=1e-6)


def test_tiny_gradients_survive_where_the_squared_error_form_loses_them():
    x = 10 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    gradient = torch.full_like(x, 1e-6)
    twin = x.clone().requires_grad_()
    (0.5 * (twin - (twin - gradient).detach()).square().sum()).backward()
    assert torch.equal(injected(x, gradient), gradient)
    assert (twin.grad - gradient).abs().max() > 0.1 * 1e-6


def test_loss_weights_and_gradient_scalers_reach_it_under_autocast():
    x, gradient = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    with torch.autocast("cpu", torch.float16):
        loss = 0.5 * score_distillation_loss(x, gradient)
    (loss * 2.0**16).backward()
    torch.testing.assert_close(x.grad / 2.0**16, 0.5 * gradient / 2, rtol=1e-6, atol=0)


@pytest.mark.parametrize("largest", [None, 1.0])
def test_elements_that_are_not_finite_are_counted_and_no_clip_hides_them(largest):
    gradient = torch.full((2, 1, 2, 2), 3.0)
    gradient[0, 0, 0, 0], gradient[1, 0, 1, 1] = float("nan"), float("inf")
    clipped, metrics = clip_gradient(gradient, largest)
    assert torch.equal(clipped.isfinite(), gradient.isfinite())
    assert metrics["grad_nonfinite"] == pytest.approx(0.25)


def test_clipping_is_per_element_and_the_norm_is_that_before():
    gradient = torch.tensor([[[[-5.0, 0.5], [2.0, 0.0]]]])
    clipped, metrics = clip_gradient(gradient, 1.0)
    assert clipped.flatten().tolist() == [-1.0, 0.5, 1.0, 0.0]
    assert metrics["grad_norm"] == pytest.approx(29.25**0.5)
