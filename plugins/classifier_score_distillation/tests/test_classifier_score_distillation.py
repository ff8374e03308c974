"""Its contract, its identity with score distillation, and what it costs."""

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build
from threefusion.testing import check_component, gaussian_embedding, views

NAME = "classifier-score-distillation"


def gradient(name, embedding, **settings):
    """Of two images, on the Gaussian prior, with noise that depends on the views alone."""
    guidance = build(settings_class("guidance", name)(**settings), build(GaussianConfig(image_size=8)))
    image = torch.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3).requires_grad_()
    return torch.autograd.grad(guidance(image, embedding, views(2)).loss, image)[0]


def schedule(value):
    from threefusion.config import Schedule

    return Schedule.constant(value)


def test_contract():
    check_component("guidance", NAME)


def test_it_is_the_difference_of_two_score_distillations():
    embedding = gaussian_embedding(2, negative=False)
    own = gradient(NAME, embedding, text_scale=schedule(1.0))
    text = gradient("sds", embedding, guidance_scale=schedule(1.0))
    uncond = gradient("sds", embedding, guidance_scale=schedule(0.0))
    torch.testing.assert_close(own, text - uncond, rtol=1e-4, atol=1e-6)


def test_negative_prompt_that_equals_the_text_adds_to_the_pull_away_from_it():
    embedding = gaussian_embedding(2)
    same = type(embedding)(embedding.text, embedding.uncond, embedding.text[:, None])
    with_negative = gradient(NAME, same, text_scale=schedule(3.0), negative_scale=schedule(1.0))
    without = gradient(NAME, same, text_scale=schedule(2.0))
    torch.testing.assert_close(with_negative, without, rtol=1e-4, atol=1e-6)


def test_the_negative_prompt_is_only_asked_for_where_it_counts():
    embedding = gaussian_embedding(2, negative=False)
    gradient(NAME, embedding)
    with pytest.raises(UserError, match=r"prompt\.negative: must be given"):
        gradient(NAME, embedding, negative_scale=schedule(1.0))
