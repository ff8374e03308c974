"""DreamFusion's appendix A.4: without guidance, score distillation is the gradient of a weighted sum of KL divergences."""

import pytest
import torch
from views import evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.schedule import VariancePreserving, alphas_cumprod
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import SDSConfig

MEAN, STD = 0.6, 0.4
TABLE = alphas_cumprod({"beta_schedule": "squaredcos_cap_v2"}).double()
FIRST, LAST = 20, 980


def weighted_kl(x, mean, std):
    """E_t[(sigma/alpha) w(t) KL(N(alpha x, sigma²) ‖ N(alpha mean, alpha² std² + sigma²))] per element, w = sigma²."""
    alpha_bar = TABLE[FIRST : LAST + 1]
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    variance = alpha**2 * std**2 + sigma**2
    kl = 0.5 * (sigma**2 / variance + (alpha * (x - mean)) ** 2 / variance - 1 + (variance / sigma**2).log())
    return (sigma / alpha * sigma**2 * kl).mean()


def test_the_mean_gradient_on_a_gaussian_is_that_of_the_closed_form_divergence():
    x = torch.tensor(-0.2, dtype=torch.float64, requires_grad=True)
    weighted_kl(x, MEAN, STD).backward()
    views = 4096
    prior = GaussianPrior(GaussianConfig(image_size=8))
    guidance = ScoreDistillation(SDSConfig(guidance_scale=Schedule.constant(1.0)), prior)
    image = torch.full((views, 8, 8, 3), (x.item() + 1) / 2).requires_grad_()
    evaluate(guidance, image, gaussian_texts(((MEAN + 1) / 2, STD)), make_batch(views)).loss.backward()
    drawn = image.grad.mean((1, 2, 3)) / 2 * views
    error = (drawn.std() / views**0.5).item()
    assert drawn.mean().item() == pytest.approx(x.grad.item(), abs=4 * error)
    assert error < 0.01 * abs(x.grad.item())


def test_the_same_holds_for_a_mixture_by_quadrature():
    """Finite differences of the divergence against the expectation of the residual."""
    import numpy

    nodes, masses = (torch.tensor(array) for array in numpy.polynomial.hermite_e.hermegauss(80))
    masses = masses / masses.sum()
    timesteps = torch.arange(FIRST, LAST + 1, 40)
    alpha, sigma = (value.view(-1, 1) for value in VariancePreserving(TABLE).coefficients(timesteps / 1000))
    centres, std = torch.tensor([-0.7, 0.5], dtype=torch.float64), 0.3

    def log_density(z):
        variance = (alpha**2 * std**2 + sigma**2)[..., None]
        terms = -((z[..., None] - alpha[..., None] * centres) ** 2) / (2 * variance) - 0.5 * (2 * torch.pi * variance).log()
        return torch.logsumexp(terms, -1) - torch.log(torch.tensor(2.0, dtype=torch.float64))

    def divergence(x):
        z = alpha * x + sigma * nodes
        entropy = -0.5 * nodes**2 - (sigma * (2 * torch.pi) ** 0.5).log()
        kl = ((entropy - log_density(z)) * masses).sum(1, keepdim=True)
        return (sigma / alpha * sigma**2 * kl).mean().item()

    z = (alpha * 0.1 + sigma * nodes).requires_grad_()
    (score,) = torch.autograd.grad(log_density(z).sum(), z)
    residual = ((-sigma * score - nodes) * masses).sum(1, keepdim=True)
    numerical = (divergence(0.1 + 1e-5) - divergence(0.1 - 1e-5)) / 2e-5
    assert (sigma**2 * residual).mean().item() == pytest.approx(numerical, abs=1e-6)
