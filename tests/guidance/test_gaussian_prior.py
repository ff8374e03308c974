"""The closed-form prior is what it says."""

import torch
from oracles import disguised_gaussian
from views import conditions, gaussian_texts

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build

PRIOR = GaussianPrior(GaussianConfig(image_size=4))
TIMES = torch.tensor([0.02, 0.5, 0.9])


def test_the_predicted_noise_is_the_scaled_score_of_the_noised_density():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 3, 4, 4, generator=generator).requires_grad_()
    condition = conditions(gaussian_texts((0.7, 0.3)), 3).text
    alpha, sigma = PRIOR.schedule.coefficients(TIMES)
    variance = alpha**2 * 0.3**2 + sigma**2
    log_density = (-((z - alpha * 0.4) ** 2) / (2 * variance)).sum()
    (score,) = torch.autograd.grad(log_density, z)
    torch.testing.assert_close(PRIOR.predict(z, TIMES, condition).noise, -sigma * score, rtol=1e-5, atol=1e-6)


def test_the_residual_splits_into_its_mean_and_its_noise():
    x, noise = torch.randn(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    z = PRIOR.schedule.add_noise(x, noise, TIMES)
    residual = PRIOR.predict(z, TIMES, conditions(gaussian_texts((0.7, 0.3)), 3).text).noise - noise
    alpha, sigma = PRIOR.schedule.coefficients(TIMES)
    variance = alpha**2 * 0.09 + sigma**2
    expected = alpha * sigma / variance * (x - 0.4) - alpha**2 * 0.09 / variance * noise
    torch.testing.assert_close(residual, expected, rtol=1e-4, atol=1e-5)


def test_its_texts_are_colours():
    prior = build(settings_class("prior", "gaussian")(mean=(0.1, 0.2, 0.3), std=0.5, uncond_std=0.6))
    tokens = prior.text_encoder().encode(["a dog", ""]).tokens
    torch.testing.assert_close(tokens[:, 0], torch.tensor([[0.1, 0.2, 0.3, 0.5], [0.5, 0.5, 0.5, 0.6]]))


def test_encoding_and_decoding_are_inverse_at_the_priors_own_size():
    rgb = torch.rand(2, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(PRIOR.decode(PRIOR.encode(rgb)), rgb)
    constant = torch.full((1, 64, 64, 3), 0.25)
    torch.testing.assert_close(PRIOR.encode(constant), torch.full((1, 3, 4, 4), -0.5))


def test_every_prediction_type_is_the_same_prior():
    z = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = conditions(gaussian_texts(), 3).text
    expected = PRIOR.predict(z, TIMES, condition)
    for prediction_type in ("epsilon", "v_prediction", "sample"):
        for channels in (3, 6):
            found = disguised_gaussian(prediction_type, channels).predict(z, TIMES, condition)
            for form in ("noise", "clean", "velocity"):
                torch.testing.assert_close(getattr(found, form), getattr(expected, form), rtol=1e-4, atol=2e-5)


def test_it_follows_a_module_to_a_device_but_never_to_another_precision():
    prior = GaussianPrior(GaussianConfig(image_size=4)).half()
    assert prior.schedule.alphas_cumprod.dtype == torch.float32
    assert prior.to("meta").device.type == "meta"
    assert prior.schedule.alphas_cumprod.device.type == "meta"
