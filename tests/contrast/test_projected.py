"""Adaptive projected guidance, against the paper's form in clean images."""

import pytest
import torch
from double_precision import combine, noised, normal

from threefusion.guidance.contrast.projected import Projected
from threefusion.guidance.contrast.settings import ProjectedConfig
from threefusion.guidance.predictions import cfg_combine

SCALE = 7.5


@pytest.fixture
def sample():
    """Noised views and the predictions at them."""
    return noised(), *normal(0, "text", "uncond").values()


def guided(sample, scale=SCALE, **settings):
    _, text, uncond = sample
    return combine(Projected(ProjectedConfig(**settings)), {"text": text, "uncond": uncond}, scale)


def in_clean_images(sample, eta, max_norm):
    """The paper's algorithm 1, without momentum."""
    views, text, uncond = sample
    clean, other = views.clean(text), views.clean(uncond)
    update = (clean - other).flatten(1)
    update = update * (max_norm / update.norm(dim=1, keepdim=True)).clamp(max=1)
    unit = clean.flatten(1) / clean.flatten(1).norm(dim=1, keepdim=True)
    along = (update * unit).sum(1, keepdim=True) * unit
    update = (update - along + eta * along).view_as(clean)
    return (views.z - views.alpha * (clean + (SCALE - 1) * update)) / views.sigma


@pytest.mark.parametrize("eta", [0.0, 0.3])
@pytest.mark.parametrize("max_norm", [2.0, 1e5])
def test_it_is_the_papers_algorithm_in_clean_images(sample, eta, max_norm):
    torch.testing.assert_close(guided(sample, eta=eta, max_norm=max_norm), in_clean_images(sample, eta, max_norm))


def test_with_the_parallel_part_and_without_a_largest_norm_it_is_classifier_free_guidance(sample):
    _, text, uncond = sample
    torch.testing.assert_close(guided(sample, eta=1.0), cfg_combine(uncond, text, SCALE))
    assert torch.equal(guided(sample, scale=1.0), text)


def test_without_the_parallel_part_the_clean_image_moves_perpendicular_to_itself(sample):
    views, text, _ = sample
    clean = views.clean(text)
    moved = views.clean(guided(sample)) - clean
    assert ((moved * clean).flatten(1).sum(1).abs() < 1e-9 * (moved.flatten(1).norm(dim=1) * clean.flatten(1).norm(dim=1))).all()
    assert (moved.flatten(1).norm(dim=1) > 1).all()


def test_the_norm_is_bounded_view_by_view(sample):
    views, text, uncond = sample
    free = (views.clean(text) - views.clean(uncond)).flatten(1).norm(dim=1)
    largest = free.mean().item()  # shortens one view and not the other
    moved = (views.clean(guided(sample, eta=1.0, max_norm=largest)) - views.clean(text)).flatten(1).norm(dim=1) / (SCALE - 1)
    torch.testing.assert_close(moved, free.clamp(max=largest))
    assert (free > largest).sum() == 1


def test_equal_predictions_are_finite(sample):
    views, text, _ = sample
    torch.testing.assert_close(guided((views, text, text), max_norm=2.0), text)
