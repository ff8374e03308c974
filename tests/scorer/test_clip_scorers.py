"""Scorers with a CLIP model: what they score, and what they add to a gradient."""

import pytest
import torch
from views import make_batch

from threefusion.guidance.clip import Clip
from threefusion.guidance.scorer.settings import SimilarityConfig, ViewClassConfig
from threefusion.guidance.settings import ClipConfig
from threefusion.registry import build
from threefusion.testing import image_render
from threefusion.types import ViewTexts

VIEWS = ("a red ball", "a red ball, side view", "a red ball, back view", "a red ball, from above")


def pictures(count=2, size=16, seed=0):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


def prompt(*rows):
    return ViewTexts(VIEWS, torch.eye(4)[list(rows)])


@pytest.fixture
def scorer(clip_folder):
    """Builds a scorer on the tiny model."""

    def make(cls):
        made = build(cls(model=str(clip_folder)))
        made.embed_texts([*VIEWS])
        return made

    return make


def test_similarity_is_dream_fields_loss_of_the_whole_image_without_a_background(scorer, clip_folder):
    objective = Clip(ClipConfig(model=str(clip_folder), crops=1, crop_share=1.0, backgrounds=False))
    objective.embed_texts([*VIEWS])
    score = scorer(SimilarityConfig)(pictures(), prompt(0, 2))
    torch.testing.assert_close(-score.mean(), objective(image_render(pictures()), prompt(0, 2), make_batch(2)).loss)


def test_view_class_is_the_log_probability_of_transformers_own_logits(scorer, clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    tokens = tokenizer([*VIEWS], padding="max_length", max_length=16, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=(pictures().permute(0, 3, 1, 2) - 0.5) / 0.25, **tokens).logits_per_image
    expected = torch.log_softmax(logits, -1)[[0, 1], [1, 3]]
    torch.testing.assert_close(scorer(ViewClassConfig)(pictures(), prompt(1, 3)), expected)
    both = ViewTexts(VIEWS, torch.tensor([[0.5, 0.0, 0.5, 0.0]]))
    mean = torch.log_softmax(logits, -1)[:1, [0, 2]].mean(1)
    torch.testing.assert_close(scorer(ViewClassConfig)(pictures()[:1], both), mean)
