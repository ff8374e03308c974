"""The contracts hold for combinations and priors of other kinds than the built-in ones."""

import pytest
import torch
from views import conditions, evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import ContrastConfig
from threefusion.guidance.denoiser import PLAIN
from threefusion.guidance.predictions import predict
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.schedule import RectifiedFlow
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import SDSConfig

CONFIG = GaussianConfig(image_size=8)


class Average(Contrast):
    """The mean of text and any number of negative prompts."""

    def conditions(self, prompt, scale, step):
        return {"text": prompt.text} | {f"n{i}": part for i, part in enumerate(prompt.negatives)}

    def combine(self, predicted, views, prompt, scale, step):
        return sum(predicted.values()) / len(predicted)


def averaged(prior):
    guidance = ScoreDistillation(SDSConfig(), prior)
    guidance.contrast = Average(ContrastConfig())
    return guidance


NEGATIVES = ((0.2, 0.3), (0.9, 0.5), (0.6, 0.2))


@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_a_combination_has_any_number_of_conditions_in_one_call(negatives):
    prior = GaussianPrior(CONFIG)
    image = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    texts = gaussian_texts((0.8, 0.4), (0.5, 0.4), *NEGATIVES[:negatives])
    evaluate(averaged(prior), image, texts, make_batch(2))
    assert (prior.evaluations.calls, prior.evaluations.images) == (1, 2 * (1 + negatives))


def test_each_condition_meets_its_own_view():
    """A prediction in the batched call equals the one made alone: no condition meets another view's state."""
    prior = GaussianPrior(CONFIG)
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    views, prompt = averaged(prior).noised(x, make_batch(3)), conditions(gaussian_texts((0.8, 0.4), (0.5, 0.4), *NEGATIVES), 3)
    conditioned = Average(ContrastConfig()).conditions(prompt, 1.0, 0)
    for name, prediction in predict(prior, views.z, views.t, conditioned).items():
        alone = prior.predict(views.z, views.t, conditioned[name]).noise
        torch.testing.assert_close(prediction, alone)


class FlowGaussian(GaussianPrior):
    """The same Gaussian as a rectified flow that predicts velocities."""

    target = "velocity"

    def read_schedule(self):
        return RectifiedFlow(shift=3.0)

    def _predict(self, z, t, condition):
        alpha, sigma = self.schedule.coefficients(t)
        noise = super()._predict(z, t, condition)
        return noise - (z - sigma * noise) / alpha


def sds(prior, **settings):
    return ScoreDistillation(SDSConfig(guidance_scale=Schedule.constant(1.0), **settings), prior)


def optimise(guidance, texts, steps=150, views=8):
    canvas = torch.full((8, 8, 3), 0.5, requires_grad=True)
    for step in range(steps):
        loss = evaluate(guidance, canvas.expand(views, -1, -1, -1), texts, make_batch(views, step)).loss
        (gradient,) = torch.autograd.grad(loss, canvas)
        with torch.no_grad():
            canvas -= 0.5 * gradient / (1 + step / 15)
    return canvas.detach().mean().item()


def test_score_distillation_reaches_the_mean_of_a_rectified_flow():
    assert optimise(sds(FlowGaussian(CONFIG)), gaussian_texts((0.8, 0.4))) == pytest.approx(0.8, abs=0.01)


def test_a_flow_and_a_table_agree_on_the_noise_at_equal_ratios_of_noise_to_signal():
    flow, table = FlowGaussian(CONFIG), GaussianPrior(CONFIG)
    t = torch.tensor([0.1, 0.4, 0.8])
    alpha, sigma = table.schedule.coefficients(t)
    level = (sigma / (alpha + sigma)).flatten()
    t_of_flow = level / (3 - 2 * level)  # the inverse of the shift
    z = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = conditions(gaussian_texts(), 3).text
    one, other = table.predict(z, t, condition), flow.predict(z / (alpha + sigma), t_of_flow, condition)
    torch.testing.assert_close(other.noise, one.noise, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other.clean, one.clean, rtol=1e-3, atol=1e-3)


class JointGaussian(GaussianPrior):
    """Denoises two views jointly: each sees the mean state of its group."""

    group_size = 2

    def _predict(self, z, t, condition):
        groups = t.view(-1, 2)
        assert torch.equal(groups[:, 0], groups[:, 1]), "views of a group share t"
        mean = z.unflatten(0, (-1, 2)).mean(1, keepdim=True).expand(-1, 2, -1, -1, -1).flatten(0, 1)
        return super()._predict(0.5 * (z + mean), t, condition)


def gradient(guidance, image, batch):
    image = image.clone().requires_grad_()
    texts = gaussian_texts((0.8, 0.4), (0.4, 0.4))
    return torch.autograd.grad(evaluate(guidance, image, texts, batch).loss, image)[0]


def test_a_joint_prior_sees_whole_groups_under_every_condition():
    guidance = ScoreDistillation(SDSConfig(guidance_scale=Schedule.constant(7.5)), JointGaussian(CONFIG))
    image = torch.rand(4, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    whole = gradient(guidance, image, make_batch(4, group_size=2))
    groups = [gradient(guidance, image[i : i + 2], make_batch(2, first=i, group_size=2)) for i in (0, 2)]
    torch.testing.assert_close(whole, torch.cat(groups) / 2, rtol=1e-4, atol=1e-5)
    changed = image.clone()
    changed[1] = 0
    difference = (gradient(guidance, changed, make_batch(4, group_size=2)) - whole).abs().amax((1, 2, 3))
    assert (difference[:2] > 1e-3).all() and (difference[2:] == 0).all()


def test_views_of_a_group_share_t_and_nothing_else():
    guidance = sds(GaussianPrior(CONFIG))
    views = guidance.noised(torch.zeros(6, 3, 8, 8), make_batch(6, group_size=3))
    assert views.t[0] == views.t[1] == views.t[2] and views.t[3] == views.t[4] == views.t[5] != views.t[0]
    assert len({float(noise.sum()) for noise in views.noise}) == 6


def test_a_views_time_does_not_depend_on_the_batch_it_comes_in():
    guidance = sds(GaussianPrior(CONFIG))
    whole = guidance.noised(torch.zeros(6, 3, 8, 8), make_batch(6, group_size=3)).t
    assert torch.equal(guidance.noised(torch.zeros(3, 3, 8, 8), make_batch(3, first=3, group_size=3)).t, whole[3:])


def test_classifier_free_guidance_prefers_the_negative_prompt():
    prompt = conditions(gaussian_texts((0.8, 0.4), (0.5, 0.4), (0.1, 0.2)), 2)
    chosen = PLAIN.conditions(prompt, 3.0, 0)
    assert torch.equal(chosen["uncond"].tokens, prompt.negatives[0].tokens)
    plain = PLAIN.conditions(conditions(gaussian_texts(), 2), 3.0, 0)
    assert torch.equal(plain["uncond"].tokens, conditions(gaussian_texts(), 2).uncond.tokens)
    assert list(PLAIN.conditions(prompt, 1.0, 0)) == ["text"]
