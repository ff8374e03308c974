"""CFG rescale of the predicted noise, in the form of diffusers."""

import pytest
import torch
from double_precision import combine, normal

from threefusion.guidance.contrast.cfg import ClassifierFreeGuidance
from threefusion.guidance.contrast.settings import CFGConfig
from threefusion.guidance.predictions import cfg_combine

TEXT, UNCOND = normal(0, "text", "uncond").values()


def guided(rescale, scale=7.5):
    return combine(ClassifierFreeGuidance(CFGConfig(rescale=rescale)), {"text": TEXT, "uncond": UNCOND}, scale)


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_it_is_that_of_diffusers(rescale):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    expected = rescale_noise_cfg(cfg_combine(UNCOND, TEXT, 7.5), TEXT, rescale)
    torch.testing.assert_close(guided(rescale), expected)


def test_fully_rescaled_it_has_the_deviation_of_the_prediction_under_the_text():
    torch.testing.assert_close(guided(1.0).flatten(1).std(1), TEXT.flatten(1).std(1))
    assert guided(0.0).std() > 3 * TEXT.std()


def test_without_guidance_there_is_nothing_to_rescale():
    assert torch.equal(guided(0.7, scale=1.0), TEXT)
