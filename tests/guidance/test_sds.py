"""Score distillation sampling on priors whose optimum is known."""

import pytest
import torch
from views import conditions, evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import WEIGHTS, ScoreDistillation
from threefusion.guidance.settings import SDSConfig
from threefusion.registry import build


def sds(prior=None, scale=1.0, **settings):
    prior = prior or GaussianPrior(GaussianConfig(image_size=8))
    return ScoreDistillation(SDSConfig(guidance_scale=Schedule.constant(scale), **settings), prior)


def picture(count):
    return torch.rand(count, 8, 8, 3, generator=torch.Generator().manual_seed(0))


def gradient(guidance, image, texts, batch):
    """∂ loss / ∂ x for the encoded image x, channels first as x is."""
    image = image.clone().requires_grad_()
    evaluate(guidance, image, texts, batch).loss.backward()
    return image.grad.permute(0, 3, 1, 2) / 2  # an image in [0, 1] is half as wide as its twin in [-1, 1]


def optimise(guidance, texts, steps=150, views=8):
    """The canvas that a decaying gradient descent ends with, as a mean over its pixels."""
    canvas = torch.full((8, 8, 3), 0.5, requires_grad=True)
    for step in range(steps):
        loss = evaluate(guidance, canvas.expand(views, -1, -1, -1), texts, make_batch(views, step)).loss
        (grad,) = torch.autograd.grad(loss, canvas)
        with torch.no_grad():
            canvas -= 0.5 * grad / (1 + step / 15)
    return canvas.detach().mean().item()


def test_it_reaches_the_mean_of_a_gaussian():
    assert optimise(sds(), gaussian_texts((0.8, 0.4))) == pytest.approx(0.8, abs=0.01)


def test_under_guidance_it_reaches_the_mean_moved_away_from_the_unconditional_one():
    texts = gaussian_texts((0.6, 0.4), (0.5, 0.4))
    assert optimise(sds(scale=3.0), texts) == pytest.approx(0.5 + 3 * 0.1, abs=0.01)


def test_a_negative_prompt_takes_the_place_of_the_empty_one():
    texts = gaussian_texts((0.6, 0.4), (0.5, 0.4), (0.7, 0.4))
    assert optimise(sds(scale=3.0), texts) == pytest.approx(0.7 + 3 * -0.1, abs=0.01)


def test_the_mean_gradient_is_the_closed_form():
    image, texts = torch.full((4096, 8, 8, 3), 0.6), gaussian_texts((0.8, 0.4))
    guidance = sds(t_min=Schedule.constant(0.5), t_max=Schedule.constant(0.5))
    alpha, sigma = (value.item() for value in guidance.prior.schedule.coefficients(torch.tensor([0.5])))
    variance = alpha**2 * 0.4**2 + sigma**2
    expected = sigma**2 * alpha * sigma / variance * (0.2 - 0.6)
    found = gradient(guidance, image, texts, make_batch(4096)).sum(0)
    error = sigma**2 * alpha**2 * 0.4**2 / variance / (4096 * 192) ** 0.5
    assert found.mean().item() == pytest.approx(expected, abs=4 * error)


def test_half_the_batch_twice_is_the_whole_batch():
    image = picture(4)
    guidance, texts = sds(scale=7.5), gaussian_texts()
    whole = gradient(guidance, image, gaussian_texts(), make_batch(4))
    halves = [gradient(guidance, image[i : i + 2], texts, make_batch(2, first=i)) for i in (0, 2)]
    torch.testing.assert_close(whole, torch.cat(halves) / 2, rtol=1e-5, atol=1e-6)
    singles = [gradient(guidance, image[i : i + 1], gaussian_texts(), make_batch(1, first=i)) for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(singles) / 4, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_affine_in_the_scale_and_linear_in_the_weight():
    image, texts, batch = picture(2), gaussian_texts(), make_batch(2)
    at = {scale: gradient(sds(scale=scale), image, texts, batch) for scale in (0.0, 1.0, 11.0)}
    torch.testing.assert_close(at[11.0], at[0.0] + 11 * (at[1.0] - at[0.0]), rtol=1e-4, atol=1e-5)


def test_without_its_baseline_it_has_the_same_mean_and_more_variance():
    image, texts, batch = torch.full((2048, 8, 8, 3), 0.6), gaussian_texts(), make_batch(2048)
    with_noise, without = (gradient(sds(baseline=name), image, texts, batch) * 2048 for name in ("noise", "none"))
    error = without.std() / without.numel() ** 0.5
    assert (with_noise.mean() - without.mean()).abs() < 4 * error
    assert without.var() > 3 * with_noise.var()


def test_the_x0_form_is_the_distance_to_the_predicted_clean_image():
    image, texts, batch = picture(2), gaussian_texts(), make_batch(2)
    guidance = sds(scale=5.0, timestep_weight="sigma_over_alpha")
    views = guidance.noised(guidance.encode(image, batch), batch)
    prompt = conditions(texts, 2)
    uncond, text = (guidance.prior.predict(views.z, views.t, part).noise for part in (prompt.uncond, prompt.text))
    noise = uncond * (1 - 5.0) + 5.0 * text
    clean = (views.z - views.sigma * noise) / views.alpha
    torch.testing.assert_close(gradient(guidance, image, texts, batch), (views.x - clean) / 2, rtol=1e-3, atol=1e-4)


def test_with_equal_weights_it_is_sjc_in_its_own_variance_exploding_form():
    image, texts, batch = picture(2), gaussian_texts(), make_batch(2)
    guidance = sds(scale=1.0, timestep_weight="uniform")
    views = guidance.noised(guidance.encode(image, batch), batch)
    ratio = views.sigma / views.alpha
    exploding = views.x + ratio * views.noise
    inside = exploding / (1 + ratio**2).sqrt()
    denoised = exploding - ratio * guidance.prior.predict(inside, views.t, conditions(texts, 2).text).noise
    tolerance = {"rtol": 1e-3, "atol": 1e-4}
    with_reduction = -(denoised - views.x) / ratio / 2
    torch.testing.assert_close(gradient(guidance, image, texts, batch), with_reduction, **tolerance)
    without = -(denoised - exploding) / ratio / 2
    torch.testing.assert_close(
        gradient(sds(scale=1.0, timestep_weight="uniform", baseline="none"), image, texts, batch), without, **tolerance
    )


def test_under_the_flow_weight_it_is_the_velocity_error_of_rectified_flow():
    image, texts, batch = picture(2), gaussian_texts(), make_batch(2)
    guidance = sds(scale=1.0, timestep_weight="flow")
    views = guidance.noised(guidance.encode(image, batch), batch)
    prediction = guidance.prior.predict(views.z, views.t, conditions(texts, 2).text)
    velocity_error = (prediction.noise - prediction.clean) - (views.noise - views.x)
    found = gradient(guidance, image, texts, batch)
    torch.testing.assert_close(found, velocity_error / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("prompted", "empty"), [(0.9, 0.1), (0.1, 0.9)])
def test_clamping_keeps_the_target_inside_the_range_of_images(prompted, empty):
    image, texts, batch = picture(2), gaussian_texts((prompted, 0.2), (empty, 0.2)), make_batch(2)
    free, clamped = (sds(scale=20.0, timestep_weight="sigma_over_alpha", clamp_x0=limit) for limit in (None, 1.0))
    x = clamped.encode(image, batch)
    bound = 1.0 if prompted > empty else -1.0
    assert ((x - 2 * gradient(free, image, texts, batch)) * bound).min() > 2
    target = x - 2 * gradient(clamped, image, texts, batch)
    torch.testing.assert_close(target, torch.full_like(target, bound), atol=1e-4, rtol=0)


def test_rescale_gives_the_target_the_contrast_of_the_unguided_one():
    image, texts, batch = picture(2), gaussian_texts((0.7, 0.2), (0.4, 0.4)), make_batch(2)
    targets = {}
    for scale, rescale in ((1.0, 0.0), (1.0, 1.0), (9.0, 0.0), (9.0, 1.0)):
        guidance = sds(scale=scale, rescale=rescale, timestep_weight="sigma_over_alpha")
        targets[scale, rescale] = guidance.encode(image, batch) - 2 * gradient(guidance, image, texts, batch)
    torch.testing.assert_close(targets[1.0, 1.0], targets[1.0, 0.0], rtol=1e-3, atol=1e-3)
    std = {key: target.std((1, 2, 3)) for key, target in targets.items()}
    torch.testing.assert_close(std[9.0, 1.0], std[1.0, 0.0], rtol=1e-3, atol=0)
    assert (std[9.0, 0.0] > 1.2 * std[1.0, 0.0]).all()


@pytest.mark.parametrize("scale, evaluations", [(1.0, 3), (0.0, 6), (7.5, 6)])
def test_only_predictions_that_are_needed_are_made_in_one_call(scale, evaluations):
    prior = GaussianPrior(GaussianConfig(image_size=4))
    evaluate(sds(prior, scale), picture(3)[:, :4, :4], gaussian_texts((0.8, 0.4), (0.5, 0.4), (0.1, 0.4)), make_batch(3))
    assert (prior.evaluations.images, prior.evaluations.calls) == (evaluations, 1)


def test_the_scale_follows_its_schedule():
    image, texts = picture(1), gaussian_texts()
    falling = ScoreDistillation(
        SDSConfig(guidance_scale=Schedule(((0, 9.0), (10, 1.0)))), GaussianPrior(GaussianConfig(image_size=8))
    )
    for step, scale in ((0, 9.0), (5, 5.0), (10, 1.0)):
        batch = make_batch(1, step)
        torch.testing.assert_close(gradient(falling, image, texts, batch), gradient(sds(scale=scale), image, texts, batch))


def test_the_range_of_times_follows_its_schedules():
    guidance = sds(t_min=Schedule(((0, 0.0), (10, 0.6))), t_max=Schedule(((0, 0.1), (10, 0.7))))
    for step, (low, high) in ((0, (0.0, 0.1)), (5, (0.3, 0.4)), (10, (0.6, 0.7))):
        t = guidance.noised(torch.zeros(64, 3, 8, 8), make_batch(64, step)).t
        assert low - 1e-6 <= t.min() < low + 0.02 and high - 0.02 < t.max() <= high + 1e-6


def test_clipping_follows_its_schedule_and_bounds_every_element():
    image, texts = torch.zeros(1, 8, 8, 3), gaussian_texts((1.0, 0.1))
    guidance = sds(timestep_weight="sigma_over_alpha", grad_clip=Schedule(((0, 0.1), (10, 0.3))))
    for step, limit in ((0, 0.1), (5, 0.2)):
        assert 2 * gradient(guidance, image, texts, make_batch(1, step)).abs().max() == pytest.approx(2 * limit)


def test_every_weight_runs_and_is_the_one_named():
    image, texts, batch = picture(1), gaussian_texts(), make_batch(1)
    plain = gradient(sds(timestep_weight="uniform"), image, texts, batch)
    t = sds().noised(torch.zeros(1, 3, 8, 8), batch).t
    for name, rule in WEIGHTS.items():
        factor = rule(*sds().prior.schedule.coefficients(t)).item()
        torch.testing.assert_close(gradient(sds(timestep_weight=name), image, texts, batch), factor * plain, rtol=1e-4, atol=1e-6)


def test_metrics_are_numbers_without_graph():
    output = evaluate(sds(), picture(2).requires_grad_(), gaussian_texts(), make_batch(2))
    assert set(output.metrics) == {"grad_norm", "grad_nonfinite", "t"}
    assert all(value.ndim == 0 and not value.requires_grad for value in output.metrics.values())


def test_it_is_built_by_name():
    guidance = build(SDSConfig(guidance_scale=Schedule.constant(20.0)), GaussianPrior(GaussianConfig()))
    assert isinstance(guidance, ScoreDistillation)
