"""SDS-Bridge: score distillation, then the direction between two descriptions."""

import pytest
import torch
from views import evaluate, make_batch

from threefusion.config import ConfigError, Schedule, load_config
from threefusion.guidance.bridge import Bridge
from threefusion.guidance.contrast.settings import ClassifierConfig, ModifiersConfig
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import BridgeConfig, SDSConfig

GOOD, BAD = "{prompt}, sharp", "{prompt}, blurry"
GAUSSIANS = {"text": (0.8, 0.4), "": (0.5, 0.4), "text, sharp": (0.9, 0.3), "text, blurry": (0.4, 0.5)}
TEXTS = TextEmbeddings(list(GAUSSIANS), Conditioning(torch.tensor([[[m, m, m, s]] for m, s in GAUSSIANS.values()])))
SCALE = Schedule.constant(100.0)


def gradient(guidance, step=0):
    image = torch.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3).requires_grad_()
    prior = guidance.prior
    before = prior.evaluations.images
    (found,) = torch.autograd.grad(evaluate(guidance, image, TEXTS, make_batch(2, step)).loss, image)
    return found, (prior.evaluations.images - before) // 2


def bridge(mix, modifiers_scale=20.0, positive=GOOD, negative=BAD):
    mix = mix if isinstance(mix, Schedule) else Schedule.constant(mix)
    modifiers = ModifiersConfig(positive=positive, negative=negative)
    cfg = BridgeConfig(guidance_scale=SCALE, modifiers=modifiers, modifiers_scale=Schedule.constant(modifiers_scale), mix=mix)
    return Bridge(cfg, GaussianPrior(GaussianConfig(image_size=8)))


def plain(cfg):
    return ScoreDistillation(cfg, GaussianPrior(GaussianConfig(image_size=8)))


def test_the_first_stage_is_score_distillation():
    (first, cost), (sds, cost_of_sds) = gradient(bridge(0.0)), gradient(plain(SDSConfig(guidance_scale=SCALE)))
    assert torch.equal(first, sds) and cost == cost_of_sds == 2


def test_the_second_stage_is_the_direction():
    direction = SDSConfig(guidance_scale=Schedule.constant(20.0), contrast=ModifiersConfig(positive=GOOD, negative=BAD))
    (second, cost), (alone, _) = gradient(bridge(1.0)), gradient(plain(direction))
    torch.testing.assert_close(second, alone)
    assert cost == 2 and second.abs().max() > 0


def test_between_the_stages_both_count_by_their_shares():
    (both, cost), (first, _), (second, _) = (gradient(bridge(mix)) for mix in (0.25, 0.0, 1.0))
    torch.testing.assert_close(both, 0.75 * first + 0.25 * second)
    assert cost == 4


def test_equal_descriptions_are_no_direction():
    assert gradient(bridge(1.0, positive=GOOD, negative=GOOD))[0].abs().max() == 0


def test_the_stages_change_at_a_step():
    guidance = bridge(Schedule(((10, 0.0), (11, 1.0))))
    for step, mix in ((0, 0.0), (10, 0.0), (11, 1.0), (50, 1.0)):
        assert torch.equal(gradient(guidance, step)[0], gradient(bridge(mix), step)[0])


def test_directions_are_refused_where_a_prediction_is_wanted_and_the_other_way_round(tmp_path):
    with pytest.raises(ValueError, match="contrast: expected one that predicts the noise"):
        BridgeConfig(contrast=ClassifierConfig())
    (tmp_path / "run.yaml").write_text("prompt: {text: a red car}\nguidance: {type: bridge, modifiers: cfg}\n")
    with pytest.raises(ConfigError, match=r"run.yaml:2: guidance.modifiers: expected a contrast that is a direction"):
        load_config(tmp_path / "run.yaml", [])
    with pytest.raises(ValueError, match="image_weight: expected 0"):
        BridgeConfig(image_weight=Schedule.constant(0.1))
