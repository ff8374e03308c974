"""Perp-Neg: what it subtracts, how much of it where, and that views of a batch do not meet."""

import math

import pytest
import torch
from double_precision import combine, normal

from threefusion.errors import UserError
from threefusion.guidance.contrast.perp_neg import WEIGHTS, PerpNeg, decay
from threefusion.guidance.contrast.settings import CFGConfig, PerpNegConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import cfg_combine, perpendicular, predict
from threefusion.guidance.prior.conditioning import Conditioning, Prediction, PromptConditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.prompt.settings import InterpolatedConfig
from threefusion.registry import build
from threefusion.types import Cameras

NAMES = ("uncond", "text", "front", "side")


def prompt_at(*azimuths_deg, elevation_deg=0.0, negatives=0):
    """The conditioning that the interpolated prompt leads to; tokens are of no account."""
    azimuth = torch.tensor(azimuths_deg).deg2rad()
    count, zero = len(azimuth), torch.zeros(len(azimuth))
    camera = Cameras(torch.eye(4).repeat(count, 1, 1), zero, azimuth, zero + math.radians(elevation_deg), zero + 2, 8, 8)
    weight = build(InterpolatedConfig(text="a cat"))(camera).weight
    part = Conditioning(torch.zeros(count, 1, 1))
    return PromptConditioning(part, part, (part,) * negatives, (part,) * 4, weight)


def predictions():
    return normal(0, *NAMES)


def weights_at(*azimuths_deg, weights="threestudio", **prompt):
    found = PerpNeg(PerpNegConfig(weights=weights)).view_weights(prompt_at(*azimuths_deg, **prompt))
    return torch.stack([found["front"], found["side"]]).T


def combined(predicted, prompt, scale=7.5, **settings):
    return combine(PerpNeg(PerpNegConfig(**settings)), predicted, scale, prompt)


def test_what_is_subtracted_is_perpendicular_to_the_positive_direction():
    predicted = predictions()
    direction = predicted["text"] - predicted["uncond"]
    extra = combined(predicted, prompt_at(30.0, 150.0), 1.0) - predicted["text"]
    cosine = (extra * direction).flatten(1).sum(1) / extra.flatten(1).norm(dim=1) / direction.flatten(1).norm(dim=1)
    assert (extra.flatten(1).norm(dim=1) > 1).all() and (cosine.abs() < 1e-6).all()


def test_perpendicular_parts():
    vector, to = normal(0, "vector", "to").values()
    across = perpendicular(vector, to)
    torch.testing.assert_close(perpendicular(across, to), across)
    torch.testing.assert_close(perpendicular(3 * to, to), torch.zeros_like(to))
    # in single precision and of any size too
    for size in (1e-10, 1.0, 1e10):
        single = perpendicular(vector.float(), size * to.float())
        torch.testing.assert_close(single.double(), across, rtol=1e-5, atol=1e-5)


def test_with_weights_of_0_it_is_classifier_free_guidance():
    predicted = predictions()
    guided = cfg_combine(predicted["uncond"], predicted["text"], 7.5)
    assert torch.equal(combined(predicted, prompt_at(30.0, 150.0), strength=0.0), guided)
    assert torch.equal(combined(predicted, prompt_at(30.0, 150.0, elevation_deg=70.0)), guided)
    assert not torch.allclose(combined(predicted, prompt_at(30.0, 150.0)), guided, atol=1)


def test_a_text_that_says_nothing_is_finite():
    predicted = predictions()
    predicted["text"] = predicted["uncond"].clone()
    assert combined(predicted, prompt_at(30.0, 150.0)).isfinite().all()


def test_a_batch_of_two_is_two_batches_of_one():
    """Also through the network: the trap is that negatives are laid out view by view and states condition by condition."""
    prior = GaussianPrior(GaussianConfig(image_size=8))
    parts = [torch.tensor([0.1 * i, 0.5, 0.9 - 0.1 * i, 0.4]).expand(2, 1, 4) for i in range(6)]
    texts = [Conditioning(part) for part in parts]
    weight = prompt_at(30.0, 150.0).weight
    prompt = PromptConditioning(texts[0], texts[1], (), tuple(texts[2:]), weight)
    x, noise = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.3, 0.8])
    contrast = PerpNeg(PerpNegConfig())

    def guided(part):
        alone = prompt.map(lambda condition: condition[part])
        alone = PromptConditioning(alone.text, alone.uncond, (), alone.parts, weight[part])
        views = NoisedViews.along(prior.schedule, x[part], noise[part], t[part])
        return contrast.combine(predict(prior, views.z, views.t, contrast.conditions(alone, 7.5, 0)), views, alone, 7.5, 0)

    torch.testing.assert_close(guided(slice(0, 2)), torch.cat([guided(slice(0, 1)), guided(slice(1, 2))]))


@pytest.mark.parametrize("azimuth", [90.0, -90.0])
def test_weights_are_continuous_at_the_side(azimuth):
    before, after = weights_at(azimuth - 1e-3, azimuth + 1e-3)
    assert (before - after).abs().max() < 1e-3
    assert before[0].item() == pytest.approx(1.574, abs=1e-3)


def test_values_of_the_weights():
    one, zero = torch.ones(1), torch.zeros(1)
    fs, sb, fsb = (4.0, 0.5, -2.426), (1.0, 0.5, -0.606), (1.0, 0.5, 0.967)
    values = [decay(r, *of).item() for of in (fs, sb, fsb) for r in (zero, one)]
    assert values == pytest.approx([1.574, 1e-4, 0.394, 5e-4, 1.967, 1.574], abs=6e-4)
    # from the front, half way to the side, from the side, half way to the back, from the back
    found = weights_at(0.0, 45.0, 90.001, 135.0, 180.0)
    half = decay(0.5 * one, *fs).item()
    wanted = [[1e-4, 1.574], [half, half], [1.574, 5e-4], [decay(0.5 * one, *fsb).item(), decay(0.5 * one, *sb).item()]]
    torch.testing.assert_close(found, torch.tensor([*wanted, [1.967, 0.394]]), rtol=0, atol=1e-3)


def test_values_of_the_other_weights():
    found = weights_at(0.0, 45.0, 90.001, 135.0, 180.0, weights="stable-dreamfusion")
    wanted = [[0, 2], [2 * math.exp(-1), 2 * math.exp(-5)], [2, 0], [2, math.exp(-5)], [2, 1]]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-4)
    assert set(WEIGHTS) == {"threestudio", "stable-dreamfusion"}


def test_both_sides_alike_and_nothing_from_above():
    torch.testing.assert_close(weights_at(70.0, 130.0), weights_at(-70.0, -130.0))
    assert weights_at(70.0, 130.0, elevation_deg=61.0).abs().max() == 0


def test_a_negative_prompt_is_one_more_text_to_move_away_from():
    contrast, prompt = PerpNeg(PerpNegConfig(strength=0.0, negative_scale=0.5)), prompt_at(30.0, 150.0, negatives=1)
    assert list(contrast.conditions(prompt, 7.5, 0)) == [*NAMES, "negative"]
    predicted = normal(0, *NAMES, "negative")
    away = perpendicular(predicted["negative"] - predicted["uncond"], predicted["text"] - predicted["uncond"])
    guided = cfg_combine(predicted["uncond"], predicted["text"], 7.5)
    torch.testing.assert_close(combine(contrast, predicted, 7.5, prompt), guided - 7.5 * 0.5 * away)


@pytest.mark.parametrize(("target", "alpha"), [("noise", 0.8), ("velocity", 0.8), ("clean", 0.8), ("velocity", 0.4)])
@pytest.mark.parametrize("settings", [PerpNegConfig(), CFGConfig()])
def test_it_commutes_with_the_conversions_of_predictions(target, alpha, settings):
    """Outputs of a network are combined, then converted, or the other way round; 0.4 is on a rectified flow."""
    shaped = torch.full((2, 1, 1, 1), alpha, dtype=torch.float64)
    sigma = (1 - shaped**2).sqrt() if alpha == 0.8 else 1 - shaped
    rates = (-sigma, shaped) if alpha == 0.8 else (-torch.ones_like(shaped), torch.ones_like(shaped))
    z, outputs = normal(1, "z")["z"], predictions()
    contrast, prompt = build(settings), prompt_at(30.0, 150.0)

    def noise(output):
        return Prediction(output, target, z, shaped, sigma, rates).noise

    first = noise(combine(contrast, outputs, 7.5, prompt))
    torch.testing.assert_close(combine(contrast, {k: noise(v) for k, v in outputs.items()}, 7.5, prompt), first)


def test_other_prompts_are_refused():
    part = Conditioning(torch.zeros(2, 1, 1))
    with pytest.raises(UserError, match="needs the texts of front, side, back and overhead, not 1 texts"):
        PerpNeg(PerpNegConfig()).conditions(PromptConditioning(part, part, parts=(part,)), 7.5, 0)
