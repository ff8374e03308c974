"""Guidance in an interval of times: where it applies, what it leaves alone, and what it saves (arXiv 2404.07724)."""

from dataclasses import replace

import pytest
import torch
from views import evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.denoiser import is_guided
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build
from threefusion.testing.distillation import SHAPE, sample_denoiser
from threefusion.testing.samples import views

TIMES = torch.tensor([0.2, 0.6, 0.29, 0.31])
INTERVAL = (0.3, 1.0)
INSIDE = torch.tensor([False, True, False, True])
CONTRASTS = {
    "cfg": 2,
    "cfg with rescale": 2,
    "projected": 2,
    "projected with max_norm": 2,
    "perp-neg": 5,
}
"""Conditions by contrast, the negative prompt of `sample_denoiser` included."""
SETTINGS = {"rescale": {"rescale": 0.7}, "max_norm": {"max_norm": 2.0}}


def contrast(name):
    kind, _, setting = name.partition(" with ")
    return build(settings_class("contrast", kind)(**SETTINGS.get(setting, {})))


def noised(schedule, times=TIMES):
    x, noise = torch.randn(2, len(times), *SHAPE, generator=torch.Generator().manual_seed(0))
    return NoisedViews.along(schedule, x, noise, times)


def denoisers(name, times=TIMES):
    """With guidance always, in the interval, and never, which is the prediction under the text."""
    always = sample_denoiser(views(len(times)), contrast(name))
    return always, replace(always, interval=INTERVAL), replace(always, interval=(1.0, 1.0))


@pytest.mark.parametrize("name", CONTRASTS)
def test_inside_it_is_the_contrast_and_outside_the_prediction_under_the_text(name):
    always, inside, never = denoisers(name)
    state = noised(always.schedule)
    text = always.text(state.z, state.t)
    combined, guided = inside.combined(state), always.combined(state)
    assert torch.equal(never.combined(state), text)
    assert torch.equal(combined[~INSIDE], text[~INSIDE])
    torch.testing.assert_close(combined[INSIDE], guided[INSIDE])
    assert (guided[~INSIDE] - text[~INSIDE]).abs().max() > 0.1


@pytest.mark.parametrize(("name", "conditions"), CONTRASTS.items())
def test_views_outside_cost_one_picture_of_the_network_and_all_are_in_one_call(name, conditions):
    for denoiser, inside in zip(denoisers(name), (4, 2, 0), strict=True):
        counted = denoiser.prior.evaluations
        before = replace(counted)
        denoiser.combined(noised(denoiser.schedule))
        assert counted.calls - before.calls == 1
        assert counted.images - before.images == 4 + (conditions - 1) * inside


def test_both_ends_belong_to_it():
    assert is_guided(torch.tensor([0.24, 0.25, 0.5, 0.51]), (0.25, 0.5)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("times", [TIMES, torch.full((4,), 0.1), torch.full((4,), 0.9)])
def test_where_shapes_are_fixed_only_a_batch_without_guidance_is_smaller(times):
    exact = denoisers("perp-neg", times)[1]
    padded = replace(exact, prior=build(GaussianConfig(image_size=SHAPE[1])))
    padded.prior.fixed_shapes = True
    state = noised(exact.schedule, times)
    torch.testing.assert_close(padded.combined(state), exact.combined(state))
    assert padded.prior.evaluations.images == (4 if times.max() < 0.3 else 5 * 4)


def test_only_what_is_prepared_at_length_has_fixed_shapes():
    config = settings_class("prior", "latent")
    fixed = {name: build(config(execution=name)).fixed_shapes for name in ("eager", "openvino", "compile", "cuda-graph")}
    assert fixed == {"eager": False, "openvino": False, "compile": True, "cuda-graph": True}


@torch.no_grad()
@pytest.mark.parametrize(("kind", "name", "group"), [("latent", "sdxl", 1), ("multi-view", "mvdream", 4)])
def test_a_network_sees_each_view_with_its_own_conditions(pipelines, kind, name, group):
    """Tokens, pooled texts and cameras of all views differ, so that a wrong row would show; groups have one time."""
    prior = build(settings_class("prior", kind)(model=str(pipelines[name]), dtype="float32"))
    generator = torch.Generator().manual_seed(1)
    encoded, count = prior.text_encoder().encode(["a"]), 4 * group

    def drawn(like):
        return None if like is None else torch.randn(count, *like.shape[1:], generator=generator)

    texts = [Conditioning(drawn(encoded.tokens), drawn(encoded.pooled)) for _ in "ab"]
    camera = None if group == 1 else torch.randn(count, 16, generator=generator)
    prompt = PromptConditioning(*texts).map(lambda text: replace(text, camera=camera))
    inside = replace(sample_denoiser(views(4)), prior=prior, prompt=prompt, interval=INTERVAL)
    x, noise = torch.randn(2, count, *prior.shape, generator=generator)
    state = NoisedViews.along(prior.schedule, x, noise, TIMES.repeat_interleave(group))
    guided, text = replace(inside, interval=(0.0, 1.0)).combined(state), inside.text(state.z, state.t)
    expected = torch.where(INSIDE.repeat_interleave(group).view(-1, 1, 1, 1), guided, text)
    torch.testing.assert_close(inside.combined(state), expected, rtol=1e-4, atol=1e-4)
    assert (guided - text).abs().amax((1, 2, 3)).min() > 1e-2


def objective(name="sds", **settings):
    config = settings_class("guidance", name)
    return build(config(**settings), GaussianPrior(GaussianConfig(image_size=8)))


def gradient(guidance, step=0):
    """∂ loss / ∂ image of four views at `TIMES`."""
    image = torch.rand(4, 8, 8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    guidance.draw_time = lambda _: TIMES
    templates = {template: (0.2 * i, 0.7) for i, template in enumerate(guidance.templates)}
    texts = gaussian_texts((0.8, 0.4), templates=templates)
    evaluate(guidance, image, texts, make_batch(4, step)).loss.backward()
    return image.grad


@pytest.mark.parametrize("settings", [{}, {"clamp_x0": 1.0}, {"rescale": 0.5}, {"denoising_steps": 2}])
def test_an_objective_has_the_gradient_of_scale_1_outside(settings):
    scales = {name: Schedule.constant(scale) for name, scale in (("guided", 7.0), ("plain", 1.0))}
    guided, plain = (gradient(objective(guidance_scale=scale, **settings)) for scale in scales.values())
    limited = objective(guidance_scale=scales["guided"], guidance_t_min=Schedule.constant(0.3), **settings)
    found = gradient(limited)
    torch.testing.assert_close(found[~INSIDE], plain[~INSIDE])
    if "denoising_steps" not in settings:  # whose later steps are at earlier times
        torch.testing.assert_close(found[INSIDE], guided[INSIDE])


def test_it_may_change_during_a_run():
    guidance = objective(guidance_t_min=Schedule(((0, 0.0), (100, 0.5))), guidance_t_max=Schedule(((0, 1.0), (100, 0.55))))
    counted = []
    for step in (0, 50, 100):
        before = guidance.prior.evaluations.images
        gradient(guidance, step)
        counted.append(guidance.prior.evaluations.images - before)
    assert counted == [8, 7, 4]


def test_the_second_stage_of_a_bridge_is_a_direction_and_has_none():
    mixed = [
        gradient(objective("bridge", mix=Schedule.constant(1.0), guidance_t_min=Schedule.constant(low))) for low in (0.0, 0.5)
    ]
    assert torch.equal(*mixed)
    assert mixed[0].abs().max() > 0


@pytest.mark.parametrize("name", ["csd", "nfsd"])
@pytest.mark.parametrize("bound", [{"guidance_t_min": Schedule.constant(0.3)}, {"guidance_t_max": Schedule.constant(0.9)}])
def test_a_direction_refuses_it_by_name(name, bound):
    with pytest.raises(ValueError, match=f"^{next(iter(bound))}: only with a contrast that predicts the noise"):
        settings_class("guidance", name)(**bound)


def test_bounds_in_the_wrong_order_are_refused_by_step():
    low = Schedule(((0, 0.1), (200, 0.6)))
    with pytest.raises(ValueError, match=r"^guidance_t_min: expected at most guidance_t_max at every step; at step 200"):
        settings_class("guidance", "sds")(guidance_t_min=low, guidance_t_max=Schedule.constant(0.5))
