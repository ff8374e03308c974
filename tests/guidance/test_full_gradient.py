"""The diffusion loss with the network's Jacobian against score distillation without it."""

import pytest
import torch
from oracles import AnisotropicGaussian
from views import evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.guidance.full_gradient import FullGradient
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import FullGradientConfig, SDSConfig

ONE = Schedule.constant(1.0)


def gradients(prior, scale=1.0, views=3):
    image = torch.rand(views, 8, 8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for guidance in (
        FullGradient(FullGradientConfig(guidance_scale=Schedule.constant(scale)), prior),
        ScoreDistillation(SDSConfig(guidance_scale=ONE), prior),
    ):
        loss = evaluate(guidance, image, gaussian_texts(), make_batch(views)).loss
        found.append(torch.autograd.grad(loss, image)[0])
    t = ScoreDistillation(SDSConfig(), prior).noised(torch.zeros(views, 3, 8, 8), make_batch(views)).t
    return (*found, *(value.permute(0, 2, 3, 1) for value in prior.schedule.coefficients(t)))


def test_on_a_gaussian_it_is_score_distillation_times_a_number():
    full, sds, alpha, sigma = gradients(GaussianPrior(GaussianConfig(image_size=8)))
    variance = alpha**2 * 0.4**2 + sigma**2
    torch.testing.assert_close(full, 2 * alpha * sigma / variance * sds, rtol=1e-4, atol=1e-5)


def test_on_an_anisotropic_gaussian_its_direction_is_another():
    spread = torch.logspace(-2, 0.6, 192).view(3, 8, 8)
    full, sds, *_ = gradients(AnisotropicGaussian(GaussianConfig(image_size=8), spread))
    cosine = torch.nn.functional.cosine_similarity(full.flatten(1), sds.flatten(1))
    assert cosine.min() < 0.95
    assert cosine.min() > 0.1


@pytest.mark.parametrize("scale, evaluations", [(1.0, 2), (3.0, 4)])
def test_evaluations(scale, evaluations):
    prior = GaussianPrior(GaussianConfig(image_size=4))
    guidance = FullGradient(FullGradientConfig(guidance_scale=Schedule.constant(scale)), prior)
    evaluate(guidance, torch.full((2, 4, 4, 3), 0.2), gaussian_texts(), make_batch(2))
    assert prior.evaluations.images == evaluations


def test_its_loss_is_the_weighted_error():
    prior = GaussianPrior(GaussianConfig(image_size=8))
    guidance = FullGradient(FullGradientConfig(timestep_weight="uniform"), prior)
    output = evaluate(guidance, torch.full((1, 8, 8, 3), 0.2), gaussian_texts(), make_batch(1))
    assert output.loss.item() == pytest.approx(output.metrics["error_norm"].item() ** 2, rel=1e-5)


def test_its_scale_follows_the_schedule():
    prior = GaussianPrior(GaussianConfig(image_size=8))
    falling = FullGradient(FullGradientConfig(guidance_scale=Schedule(((0, 9.0), (10, 1.0)))), prior)
    for step, scale in ((0, 9.0), (5, 5.0), (10, 1.0)):
        fixed = FullGradient(FullGradientConfig(guidance_scale=Schedule.constant(scale)), prior)
        image, batch = torch.full((1, 8, 8, 3), 0.2), make_batch(1, step)
        losses = [evaluate(guidance, image, gaussian_texts(), batch).loss for guidance in (falling, fixed)]
        torch.testing.assert_close(*losses)
