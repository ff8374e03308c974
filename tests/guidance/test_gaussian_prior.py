"""The closed-form prior is what it says."""

import torch
from oracles import disguised_gaussian
from views import gaussian_embedding

from threefusion.guidance.noise import add_noise, signal_and_noise
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build

PRIOR = GaussianPrior(GaussianConfig(image_size=4))
TIMESTEPS = torch.tensor([20, 500, 900])


def test_the_predicted_noise_is_the_scaled_score_of_the_noised_density():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 3, 4, 4, generator=generator).requires_grad_()
    tokens = gaussian_embedding(3, (0.7, 0.3)).text
    alpha, sigma = signal_and_noise(PRIOR.alphas_cumprod, TIMESTEPS)
    variance = alpha**2 * 0.3**2 + sigma**2
    log_density = (-((z - alpha * 0.4) ** 2) / (2 * variance)).sum()
    (score,) = torch.autograd.grad(log_density, z)
    torch.testing.assert_close(PRIOR.predict_noise(z, TIMESTEPS, tokens), -sigma * score, rtol=1e-5, atol=1e-6)


def test_the_residual_splits_into_its_mean_and_its_noise():
    x, noise = torch.randn(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    z = add_noise(x, noise, TIMESTEPS, PRIOR.alphas_cumprod)
    residual = PRIOR.predict_noise(z, TIMESTEPS, gaussian_embedding(3, (0.7, 0.3)).text) - noise
    alpha, sigma = signal_and_noise(PRIOR.alphas_cumprod, TIMESTEPS)
    variance = alpha**2 * 0.09 + sigma**2
    expected = alpha * sigma / variance * (x - 0.4) - alpha**2 * 0.09 / variance * noise
    torch.testing.assert_close(residual, expected, rtol=1e-4, atol=1e-5)


def test_its_texts_are_colours():
    prior = build(GaussianConfig(mean=(0.1, 0.2, 0.3), std=0.5, uncond_std=0.6))
    tokens = prior.text_encoder().encode(["a dog", ""])
    torch.testing.assert_close(tokens[:, 0], torch.tensor([[0.1, 0.2, 0.3, 0.5], [0.5, 0.5, 0.5, 0.6]]))


def test_encoding_and_decoding_are_inverse_at_the_priors_own_size():
    rgb = torch.rand(2, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(PRIOR.decode(PRIOR.encode(rgb)), rgb)
    constant = torch.full((1, 64, 64, 3), 0.25)
    torch.testing.assert_close(PRIOR.encode(constant), torch.full((1, 3, 4, 4), -0.5))


def test_every_prediction_type_is_the_same_prior():
    z = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = gaussian_embedding(3).text
    expected = PRIOR.predict_noise(z, TIMESTEPS, tokens)
    for prediction_type in ("epsilon", "v_prediction", "sample"):
        for channels in (3, 6):
            found = disguised_gaussian(prediction_type, channels).predict_noise(z, TIMESTEPS, tokens)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_it_follows_a_module_to_a_device_but_never_to_another_precision():
    prior = GaussianPrior(GaussianConfig(image_size=4)).half()
    assert prior.alphas_cumprod.dtype == torch.float32
    assert prior.to("meta").device.type == "meta"
    assert prior.alphas_cumprod.device.type == "meta"
