"""Published methods are score distillation with other parts: their identities, on priors whose every answer is known."""

import pytest
import torch
from views import conditions, evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.schedule import alphas_cumprod
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build

TEXT, UNCOND, BAD = (0.8, 0.4), (0.5, 0.4), (0.2, 0.7)
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def constant(**values):
    plain = ("rescale", "clamp_x0")
    return {k: Schedule.constant(v) if isinstance(v, float) and k not in plain else v for k, v in values.items()}


def method(name, beta_schedule="squaredcos_cap_v2", **settings):
    prior = GaussianPrior(GaussianConfig(image_size=8, beta_schedule=beta_schedule))
    return build(settings_class("guidance", name)(**constant(**settings)), prior)


def picture(count=2):
    return torch.rand(count, 8, 8, 3, generator=torch.Generator().manual_seed(0))


def gradient(guidance, image=None, batch=None, text=TEXT, uncond=UNCOND, bad=BAD):
    """∂ loss / ∂ x for the encoded image x, channels first; every template of the objective is the Gaussian `bad`."""
    image = (picture() if image is None else image).clone().requires_grad_()
    texts = gaussian_texts(text, uncond, templates=dict.fromkeys(guidance.templates, bad))
    evaluate(guidance, image, texts, batch or make_batch(len(image))).loss.backward()
    return image.grad.permute(0, 3, 1, 2) / 2


def parts(guidance, scale=7.5):
    """Noised views, the predictions under text and without, and the noise, of the default picture."""
    batch = make_batch(2)
    views = guidance.noised(guidance.encode(picture(), batch), batch)
    prompt = conditions(gaussian_texts(TEXT, UNCOND), 2)
    return views, *(guidance.prior.predict(views.z, views.t, part).noise for part in (prompt.text, prompt.uncond))


def test_classifier_score_distillation_is_the_difference_of_two_score_distillations():
    csd = gradient(method("csd", normalize=False, timestep_weight="sigma2"))
    text, uncond = (gradient(method("sds", guidance_scale=scale)) for scale in (1.0, 0.0))
    torch.testing.assert_close(csd, text - uncond, **TOLERANCE)


def test_classifier_score_distillation_is_the_slope_of_score_distillation_in_its_scale():
    low, high = (gradient(method("sds", guidance_scale=scale, timestep_weight="uniform")) for scale in (10.0, 110.0))
    torch.testing.assert_close(gradient(method("csd", normalize=False)), (high - low) / 100, **TOLERANCE)


def test_classifier_score_distillation_moves_away_from_negative_words():
    contrast = settings_class("contrast", "classifier")(negative_scale=Schedule.constant(0.5))
    guidance = method("csd", normalize=False, contrast=contrast)
    views, text, uncond = parts(guidance)
    tokens = Conditioning(torch.tensor([[[BAD[0]] * 3 + [BAD[1]]]] * 2))
    bad = guidance.prior.predict(views.z, views.t, tokens).noise
    # ω1 c + (ω2 - ω1) ∅ - ω2 n
    torch.testing.assert_close(gradient(guidance), (text - 0.5 * uncond - 0.5 * bad) / 2, **TOLERANCE)
    assert guidance.prior.evaluations.images == 6 + 6


def test_a_normalized_gradient_has_length_one_in_every_view():
    found = gradient(method("csd"), picture(3))
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((3,), 1 / 3), rtol=1e-4, atol=0)


def test_without_a_difference_between_words_and_none_the_classifier_says_nothing():
    assert gradient(method("csd", normalize=False), text=UNCOND).abs().max() < 1e-6


def test_noise_free_distillation_at_much_noise_is_the_classifiers_direction_if_the_negative_words_say_nothing():
    settings = {"t_min": 0.5, "t_max": 0.9, "timestep_weight": "uniform"}
    found = gradient(method("nfsd", **settings), bad=UNCOND)
    expected = 7.5 * gradient(method("csd", normalize=False, **settings))
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_noise_free_distillation_at_little_noise_is_the_guided_prediction():
    settings = {"t_min": 0.02, "t_max": 0.3, "guidance_scale": 7.5}
    plain = gradient(method("sds", baseline="none", **settings))
    torch.testing.assert_close(gradient(method("nfsd", **settings)), plain, **TOLERANCE)


@pytest.mark.parametrize(("beta_schedule", "timestep"), [("scaled_linear", 200), ("squaredcos_cap_v2", 324)])
def test_noise_free_distillation_changes_at_the_same_noise_on_every_schedule(beta_schedule, timestep):
    """Stable Diffusion's timestep 200, in ᾱ."""
    guidance = method("nfsd", beta_schedule)
    settings = {} if beta_schedule != "scaled_linear" else {"beta_start": 0.00085, "beta_end": 0.012}
    table = alphas_cumprod({"beta_schedule": beta_schedule, **settings})
    above = table > guidance.cfg.contrast.threshold
    assert abs(int(above.sum()) - timestep) <= 1


def test_score_jacobian_chaining_is_score_distillation_with_equal_weights():
    settings = {"guidance_scale": 5.0, "t_min": 0.1, "t_max": 0.9}
    same = gradient(method("sds", timestep_weight="uniform", **settings))
    assert torch.equal(gradient(method("sjc", **settings)), same)


def test_asynchronous_distillation_without_a_shift_is_the_classifiers_direction():
    found = gradient(method("asd", shift=0.0))
    torch.testing.assert_close(found, 6.5 * gradient(method("csd", normalize=False, timestep_weight="sigma2")), **TOLERANCE)


def test_asynchronous_distillation_compares_with_a_later_time_on_the_same_noise():
    guidance = method("asd", shift=0.5, guidance_scale=1.0, timestep_weight="uniform", t_min=0.2, t_max=0.6)
    batch = make_batch(2)
    views, text, _ = parts(guidance)
    later = views.t + batch.rand_per_group("shift") * 0.5 * (views.t - 0.2)
    assert (later > views.t).all()
    schedule = guidance.prior.schedule
    condition = conditions(gaussian_texts(TEXT, UNCOND), 2).text
    baseline = guidance.prior.predict(schedule.add_noise(views.x, views.noise, later), later, condition).noise
    torch.testing.assert_close(gradient(guidance), (text - baseline) / 2, **TOLERANCE)


def test_rectified_flow_distillation_is_the_error_of_the_velocity():
    guidance = method("rfds", guidance_scale=1.0)
    views, text, _ = parts(guidance)
    clean = views.clean(text)
    torch.testing.assert_close(gradient(guidance), ((text - clean) - (views.noise - views.x)) / 2, **TOLERANCE)


def test_reversed_rectified_flow_first_replaces_the_noise_by_its_prediction():
    guidance = method("rfds-rev", guidance_scale=1.0)
    views, text, _ = parts(guidance)
    schedule, condition = guidance.prior.schedule, conditions(gaussian_texts(TEXT, UNCOND), 2).text
    s = views.sigma / (views.alpha + views.sigma)  # noise level of the flow, on which the paper writes its step
    velocity = text - views.clean(text)
    refined = views.noise + (1 - s) * (velocity + views.x - views.noise)
    torch.testing.assert_close(refined, text, **TOLERANCE)
    again = guidance.prior.predict(schedule.add_noise(views.x, refined, views.t), views.t, condition).noise
    torch.testing.assert_close(gradient(guidance), (1 + views.sigma / views.alpha) * (again - refined) / 2, **TOLERANCE)


def test_the_reconstruction_form_is_the_distance_to_the_rescaled_clean_image():
    plain = gradient(method("reconstruction", rescale=0.0, guidance_scale=9.0))
    torch.testing.assert_close(plain, gradient(method("sds", timestep_weight="sigma_over_alpha", guidance_scale=9.0)))
    unguided = [gradient(method("reconstruction", rescale=amount, guidance_scale=1.0)) for amount in (0.0, 1.0)]
    torch.testing.assert_close(*unguided, rtol=1e-3, atol=1e-3)


def test_hifa_with_one_step_is_score_distillation_and_its_image_term_the_same_residual_on_a_pixel_prior():
    settings = {"denoising_steps": 1, "ancestral": False, "guidance_scale": 5.0}
    space = gradient(method("hifa", image_weight=0.0, **settings))
    torch.testing.assert_close(space, gradient(method("sds", timestep_weight="sigma_over_alpha", guidance_scale=5.0)))
    both = gradient(method("hifa", image_weight=0.1, clamp_x0=1.0, **settings))
    inside = gradient(method("hifa", image_weight=0.0, clamp_x0=1.0, **settings))
    # an image in [0, 1] is half as wide as its twin in [-1, 1], so its squared error is a quarter
    torch.testing.assert_close(both, inside * (1 + 0.1 / 4), **TOLERANCE)


def test_more_denoising_steps_lead_to_the_sample_of_the_ode():
    """On a Gaussian the ODE is linear: (z - alpha μ) / √V is constant, so the clean image is μ + s (z - alpha μ) / √V."""
    settings = {"guidance_scale": 1.0, "timestep_weight": "sigma_over_alpha", "t_min": 0.7, "t_max": 0.7}
    guidance = method("sds", **settings)
    views, _, _ = parts(guidance)
    mean, std = 2 * TEXT[0] - 1, TEXT[1]
    variance = views.alpha**2 * std**2 + views.sigma**2
    sample = mean + std * (views.z - views.alpha * mean) / variance.sqrt()
    errors = []
    for steps in (20, 40, 80):
        clean = views.x - 2 * gradient(method("sds", denoising_steps=steps, **settings))
        errors.append((clean - sample).abs().max().item())
    assert errors[-1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.25) and errors[1] / errors[2] == pytest.approx(2, abs=0.25)


def test_ancestral_steps_keep_the_spread_of_the_samples():
    """Where part of the noise is drawn anew the clean image is another sample of the same Gaussian."""
    settings = {"guidance_scale": 1.0, "timestep_weight": "sigma_over_alpha", "t_min": 0.97, "t_max": 0.97}
    guidance = method("sds", denoising_steps=60, ancestral=True, **settings)
    image = torch.full((64, 8, 8, 3), 0.5)
    clean = -2 * 32 * gradient(guidance, image, make_batch(64))
    assert clean.mean().item() == pytest.approx(2 * TEXT[0] - 1, abs=0.02)
    assert clean.std().item() == pytest.approx(TEXT[1], rel=0.1)


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [
        ("sds", 2),
        ("sjc", 2),
        ("csd", 2),
        ("nfsd", 3),
        ("asd", 3),
        ("rfds", 2),
        ("rfds-rev", 3),
        ("reconstruction", 2),
        ("hifa", 8),
    ],
)
def test_evaluations_per_view(name, evaluations):
    guidance = method(name)
    gradient(guidance)
    assert guidance.prior.evaluations.images == 2 * evaluations


def test_inverted_states_cost_what_their_inversion_costs():
    sdi = method("sdi", t_min=0.6, t_max=0.6)
    gradient(sdi)
    assert sdi.prior.evaluations.images == 2 * (6 * 2 + 2)
    ism = method("ism", t_min=0.9, t_max=0.9)
    gradient(ism)
    # four steps of 0.2 to 0.8, the prediction there, and the two of guidance
    assert ism.prior.evaluations.images == 2 * (4 + 1 + 2)


@pytest.mark.parametrize("name", ["sds", "sjc", "ism", "sdi", "pfd", "rfds", "rfds-rev", "reconstruction", "hifa", "nfsd"])
def test_every_mode_seeking_method_reaches_the_mean_of_a_gaussian(name):
    """Without a prompt's contrast; of `nfsd` the form at little noise, which alone has a fixed point there."""
    settings = {"guidance_scale": 1.0, "weight": 1.0, "t_min": 0.2, "t_max": 0.6}
    if name == "nfsd":
        settings |= {"guidance_scale": 0.0, "t_min": 0.02, "t_max": 0.3}
    if name in ("sdi", "pfd"):
        settings["state"] = settings_class("state", "inverted")(guidance_scale=1.0, beyond=0.3, stochasticity=0.0)
    guidance = method(name, **settings)
    target = UNCOND[0] if name == "nfsd" else TEXT[0]
    canvas = torch.full((8, 8, 3), 0.35)
    for step in range(600):
        found = gradient(
            guidance, canvas.expand(8, -1, -1, -1), make_batch(8, step), text=TEXT, uncond=TEXT if name == "ism" else UNCOND
        )
        rate = 1.0 / (1 + step / 25)
        canvas = canvas - rate * found.sum(0).permute(1, 2, 0)
    assert canvas.mean().item() == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize("name", ["csd", "nfsd", "asd", "vsd"])
def test_a_baseline_that_would_not_be_read_is_refused_by_name(name):
    with pytest.raises(ValueError, match=r"^baseline: "):
        settings_class("guidance", name)(baseline="none")


def test_a_source_of_noise_that_a_state_does_not_read_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^noise: not read by this state"):
        settings_class("guidance", "ism")(noise=settings_class("noise", "fixed")())
