"""Its contract, its identity with score distillation, and what it costs."""

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.testing import check_component, image_render, sample_guidance, sample_prompt, views

NAME = "classifier-score-distillation"


def gradient(name, prompt, embeddings=None, **settings):
    """Of two images, on the Gaussian prior, with noise that depends on the views alone."""
    guidance = sample_guidance(settings_class("guidance", name)(**settings))
    guidance.embeddings = embeddings or guidance.embeddings
    image = torch.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3).requires_grad_()
    return torch.autograd.grad(guidance(image_render(image), prompt, views(2)).loss, image)[0]


def schedule(value):
    from threefusion.config import Schedule

    return Schedule.constant(value)


def test_contract():
    check_component("guidance", NAME)


def test_it_is_the_difference_of_two_score_distillations():
    prompt = sample_prompt(2, negative=False)
    own = gradient(NAME, prompt, text_scale=schedule(1.0))
    text = gradient("sds", prompt, guidance_scale=schedule(1.0))
    uncond = gradient("sds", prompt, guidance_scale=schedule(0.0))
    torch.testing.assert_close(own, text - uncond, rtol=1e-4, atol=1e-6)


def test_negative_prompt_that_equals_the_text_adds_to_the_pull_away_from_it():
    prompt = sample_prompt(2)
    same = torch.tensor([[[0.8, 0.4, 0.2, 0.4]], [[0.5, 0.25, 0.2, 0.6]], [[0.8, 0.4, 0.2, 0.4]]])
    embeddings = TextEmbeddings(["text", "", "negative"], Conditioning(same))
    with_negative = gradient(NAME, prompt, embeddings, text_scale=schedule(3.0), negative_scale=schedule(1.0))
    without = gradient(NAME, prompt, embeddings, text_scale=schedule(2.0))
    torch.testing.assert_close(with_negative, without, rtol=1e-4, atol=1e-6)


def test_the_negative_prompt_is_only_asked_for_where_it_counts():
    prompt = sample_prompt(2, negative=False)
    gradient(NAME, prompt)
    with pytest.raises(UserError, match=r"prompt\.negative: required"):
        gradient(NAME, prompt, negative_scale=schedule(1.0))
