"""Rules that combine predictions under several conditions."""

import pytest
import torch

from threefusion.guidance.predictions import cfg_combine, rescale_std
from threefusion.guidance.prior.conditioning import Prediction
from threefusion.guidance.prior.schedule import RectifiedFlow, VariancePreserving, alphas_cumprod

generator = torch.Generator().manual_seed(0)
uncond, cond = torch.randn(2, 3, 4, 5, 5, generator=generator).double()


def test_guidance_at_zero_and_one():
    assert torch.equal(cfg_combine(uncond, cond, 0.0), uncond)
    torch.testing.assert_close(cfg_combine(uncond, cond, 1.0), cond)


def test_guidance_is_linear_in_the_scale():
    middle = cfg_combine(uncond, cond, 4.0)
    torch.testing.assert_close(middle, (cfg_combine(uncond, cond, 1.0) + cfg_combine(uncond, cond, 7.0)) / 2)


def test_the_papers_form_has_a_scale_that_is_one_less():
    omega = 100.0
    torch.testing.assert_close(cfg_combine(uncond, cond, omega + 1), (1 + omega) * cond - omega * uncond)


@pytest.mark.parametrize("target", ["velocity", "clean"])
@pytest.mark.parametrize("kind", ["table", "flow"])
def test_guidance_commutes_with_the_conversion_of_predictions(target, kind):
    table = VariancePreserving(alphas_cumprod({"beta_schedule": "squaredcos_cap_v2"}).double())
    schedule = table if kind == "table" else RectifiedFlow(3.0)
    coefficients = schedule.coefficients(torch.tensor([0.02, 0.5, 0.95]).double())
    z = torch.randn(3, 4, 5, 5, generator=generator).double()

    def noise(output):
        return Prediction(output, target, z, *coefficients, schedule.rates(*coefficients)).noise

    torch.testing.assert_close(noise(cfg_combine(uncond, cond, 7.5)), cfg_combine(noise(uncond), noise(cond), 7.5))


def test_rescale_does_nothing_at_zero_and_at_scale_one():
    guided = cfg_combine(uncond, cond, 9.0)
    assert torch.equal(rescale_std(guided, cond, 0.0), guided)
    torch.testing.assert_close(rescale_std(cfg_combine(uncond, cond, 1.0), cond, 0.7), cond)


def test_full_rescale_matches_the_standard_deviation_of_every_item():
    rescaled = rescale_std(cfg_combine(uncond, cond, 9.0), cond, 1.0)
    torch.testing.assert_close(rescaled.std((1, 2, 3)), cond.std((1, 2, 3)))
    alone = rescale_std(cfg_combine(uncond[:1], cond[:1], 9.0), cond[:1], 1.0)
    torch.testing.assert_close(rescaled[:1], alone)


def test_rescaling_a_constant_prediction_is_finite():
    constant = torch.full_like(cond, 0.3)
    assert rescale_std(constant, cond, 0.7).isfinite().all()
    assert torch.equal(rescale_std(torch.zeros_like(cond), cond, 0.7), torch.zeros_like(cond))
