"""Variational score distillation: its identities, and what its critic must not touch."""

import pytest
import torch
from particles import MEAN, STD, PopulationCritic, move, start
from views import evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.contrast.settings import ClassifierConfig
from threefusion.guidance.prior.conditioning import Prediction
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import CriticConfig, GaussianConfig
from threefusion.guidance.settings import ScoreDistillationConfig, SDSConfig, VSDConfig
from threefusion.registry import build
from threefusion.testing import image_render

SCALE = Schedule.constant(7.5)
TEXTS = gaussian_texts((0.7, 0.3), (0.4, 0.4))


def picture(count=2, size=8):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0))


def gradient(guidance, image, batch):
    image = image.clone().requires_grad_()
    evaluate(guidance, image, TEXTS, batch).loss.backward()
    return image.grad


class Dirac(Critic):
    """Knows the one picture there is."""

    def __init__(self, prior, x):
        super().__init__()
        self.prior, self.x = prior, x

    schedule = property(lambda self: self.prior.schedule)

    def forward(self, z, t, condition, pose):
        alpha, sigma = self.schedule.coefficients(t)
        return Prediction((z - alpha * self.x) / sigma, "noise", z, alpha, sigma, self.schedule.rates(alpha, sigma))


def test_with_a_critic_that_knows_the_one_picture_it_is_sds():
    prior, batch, image = GaussianPrior(GaussianConfig(image_size=8)), make_batch(2), picture()
    vsd = build(VSDConfig(guidance_scale=SCALE), prior)
    vsd.critic = Dirac(prior, prior.encode(image))
    expected = gradient(build(SDSConfig(guidance_scale=SCALE), prior), image, batch)
    torch.testing.assert_close(gradient(vsd, image, batch), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_with_the_priors_own_score_as_critic_nothing_moves():
    vsd = build(VSDConfig(guidance_scale=Schedule.constant(1.0)), GaussianPrior(GaussianConfig(image_size=8)))
    assert not gradient(vsd, picture(), make_batch(2)).any()


@pytest.mark.parametrize("name", ["gaussian", "if-6", "if-v", "sd-epsilon", "sd-v"])
def test_before_the_critic_is_trained_it_is_classifier_score_distillation_times_scale_minus_one(pipelines, name):
    if name == "gaussian":
        prior = GaussianPrior(GaussianConfig(image_size=8))
    else:
        kind = "latent" if name.startswith("sd") else "pixel"
        prior = build(settings_class("prior", kind)(model=str(pipelines[name]), dtype="float32"))
    prompt = build(settings_class("prompt", "plain")(text="a red ball"))
    batch, image = make_batch(2), picture(size=32)
    classifier = ScoreDistillationConfig(guidance_scale=Schedule.constant(6.5), contrast=ClassifierConfig())
    found, expected = [], []
    for cfg, gradients in ((VSDConfig(guidance_scale=SCALE), found), (SDSConfig(**vars(classifier)), expected)):
        guidance = build(cfg, prior)
        guidance.embed_texts(prompt.texts())
        own = image.clone().requires_grad_()
        guidance(image_render(own), prompt(batch.camera), batch).loss.backward()
        gradients.append(own.grad)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=2e-4 * expected[0].abs().max().item())
    assert expected[0].any()


@pytest.mark.parametrize(("critic", "tolerance"), [(PopulationCritic, 0.005), (None, 0.02)], ids=["exact", "learned"])
def test_particles_spread_as_the_prior_does(critic, tolerance):
    cfg = VSDConfig(guidance_scale=Schedule.constant(1.0), t_max=Schedule.constant(0.98))
    mean, std = move(cfg, start(2, 16), 300 if critic else 400, critic)
    assert mean == pytest.approx(MEAN, rel=tolerance)
    assert std == pytest.approx(STD, rel=tolerance)


def test_under_score_distillation_sampling_they_meet():
    mean, std = move(SDSConfig(guidance_scale=Schedule.constant(1.0)), start(1), 200)
    assert mean == pytest.approx(MEAN, rel=0.02)
    assert std < 0.1 * STD


@pytest.mark.parametrize("count", [2, 4])
def test_few_particles_spread_too(count):
    """A critic with the population's standard deviation keeps any number of them as far apart as the prior's samples."""
    cfg = VSDConfig(guidance_scale=Schedule.constant(1.0), t_max=Schedule.constant(0.98))
    image = start(count, 1)
    image.data = image.data.mean(-1, keepdim=True).expand(-1, -1, -1, 3).clone()
    image.data += 0.02 * torch.arange(count).view(-1, 1, 1, 1)
    _, std = move(cfg, image, 200, PopulationCritic)
    assert std == pytest.approx(STD * (3 * count / (3 * count - 1)) ** 0.5, rel=0.02)


def test_neither_loss_reaches_the_parameters_of_the_other():
    vsd = build(VSDConfig(guidance_scale=SCALE), GaussianPrior(GaussianConfig(image_size=8)))
    image = picture().requires_grad_()
    output = evaluate(vsd, image, TEXTS, make_batch(2))
    trained = list(vsd.trainable().parameters())
    assert not any(torch.autograd.grad(output.loss, trained, allow_unused=True, retain_graph=True))
    assert torch.autograd.grad(output.critic_loss, image, allow_unused=True, retain_graph=True) == (None,)
    assert all(part.any() for part in torch.autograd.grad(output.critic_loss, trained))


def test_a_step_evaluates_the_network_twice_more_once_with_gradient(pipelines):
    prior = build(settings_class("prior", "pixel")(model=str(pipelines["if-6"]), dtype="float32"))
    prompt = build(settings_class("prompt", "plain")(text="a red ball"))
    vsd = build(VSDConfig(guidance_scale=SCALE), prior)
    vsd.embed_texts(prompt.texts())
    vsd.trainable()
    with_gradient = []
    vsd.critic.twin._networks["unet"].register_forward_hook(lambda *_: with_gradient.append(torch.is_grad_enabled()))
    vsd(image_render(picture(size=32)), prompt(make_batch(2).camera), make_batch(2))
    assert with_gradient == [False, True]
    assert (prior.evaluations.calls, prior.evaluations.images) == (3, 8)


def test_the_critic_reads_the_text_without_a_view(pipelines):
    prior = build(settings_class("prior", "pixel")(model=str(pipelines["if-6"]), dtype="float32"))
    prompt = build(settings_class("prompt", "interpolated")(text="a red ball"))
    vsd = build(VSDConfig(), prior)
    vsd.embed_texts([*prompt.texts(), "a red ball"])
    batch = make_batch(2)
    embedded = vsd.embed(prompt(batch.camera), batch)
    plain = prior.text_encoder().encode(["a red ball"]).tokens
    torch.testing.assert_close(embedded.variants["plain"].tokens, plain.expand(2, -1, -1), rtol=1e-4, atol=1e-4)
    assert not torch.equal(embedded.text.tokens, embedded.variants["plain"].tokens)


@pytest.mark.parametrize("target", ["noise", "clean", "velocity"])
def test_the_critic_is_trained_on_what_the_network_predicts(target):
    prior = GaussianPrior(GaussianConfig(image_size=8))
    x, noise = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    alpha, sigma = prior.schedule.coefficients(torch.tensor([0.3, 0.7]))
    z = alpha * x + sigma * noise
    known = Prediction(noise, "noise", z, alpha, sigma, prior.schedule.rates(alpha, sigma))
    forms = {"noise": known.noise, "clean": known.clean, "velocity": known.velocity}
    other = Prediction(forms[target], target, z, alpha, sigma, known.rates)
    torch.testing.assert_close(other.exact(x, noise), other.output, rtol=1e-4, atol=1e-4)


def test_the_loss_is_a_mean_with_the_gradient_of_a_sum():
    prior = GaussianPrior(GaussianConfig(image_size=8))
    critic = prior.critic(CriticConfig())
    x, noise = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = TEXTS._select("text").expand(2)
    t, pose = torch.tensor([0.3, 0.7]), torch.zeros(2, 16)
    error = critic(prior.schedule.add_noise(x, noise, t), t, condition, pose).noise - noise
    loss = critic.loss(x, noise, t, condition, pose)
    assert loss.item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    found, expected = (torch.autograd.grad(value, critic.shift)[0] for value in (loss, error.square().sum() / 2))
    torch.testing.assert_close(found, expected)


def test_a_prior_without_a_critic_is_refused_by_name():
    from threefusion.errors import UserError
    from threefusion.guidance.prior.prior import DiffusionPrior

    class Plain(GaussianPrior):
        critic = DiffusionPrior.critic

    with pytest.raises(UserError, match="needs a critic, which Plain does not have"):
        build(VSDConfig(), Plain(GaussianConfig())).trainable()
