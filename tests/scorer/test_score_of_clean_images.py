"""What a scorer adds to the gradient of score distillation."""

import pytest
import torch
from views import evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.guidance.contrast.settings import ClassifierConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.scorer.scorer import Scorer
from threefusion.guidance.scorer.settings import ScorerConfig, SimilarityConfig
from threefusion.guidance.settings import SDSConfig


class Whiteness(Scorer):
    """Higher the closer the colours are to white."""

    def forward(self, images, prompt):
        self.seen = images.detach()
        return -0.5 * (images - 1).square().flatten(1).sum(1)


def sds(share=None, **settings):
    made = ScoreDistillation(
        SDSConfig(guidance_scale=Schedule.constant(2.0), **settings), GaussianPrior(GaussianConfig(image_size=8))
    )
    if share is not None:
        made.scorer = Whiteness(ScorerConfig(weight=share))
    return made


def injected(guidance, images, step=0):
    x = guidance.prior.encode(images).requires_grad_()
    guidance.encode = lambda image, views: x
    evaluate(guidance, images, gaussian_texts((0.55, 0.1), (0.5, 0.1)), make_batch(len(images), step)).loss.backward()
    return x.grad * len(images)


def pictures(count=3):
    return torch.rand(count, 8, 8, 3, generator=torch.Generator().manual_seed(0))


def test_it_adds_minus_the_scores_gradient_at_the_clean_image_with_a_share_of_the_gradients_length():
    guidance = sds(Schedule.constant(0.7))
    own, both = injected(sds(), pictures()), injected(guidance, pictures())
    # white is 1, and colours are half as far apart as the prior's values
    away = (guidance.scorer.seen - 1).permute(0, 3, 1, 2)
    unit, length = (away / away.flatten(1).norm(dim=1).view(-1, 1, 1, 1), own.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
    torch.testing.assert_close(both - own, 0.7 * length * unit, rtol=1e-4, atol=1e-5)


def test_what_is_scored_is_the_guided_clean_image():
    guidance, images = sds(Schedule.constant(1.0), clamp_x0=0.1), pictures()
    injected(guidance, images)
    assert guidance.scorer.seen.sub(0.5).abs().max() == pytest.approx(0.05, abs=1e-4)  # half as wide in colours
    kept = {}
    free = sds(Schedule.constant(1.0))
    combine = free.combined

    def record(noised: NoisedViews, *rest):
        kept["clean"] = noised.clean(combined := combine(noised, *rest))
        return combined

    free.combined = record
    injected(free, images)
    torch.testing.assert_close(free.scorer.seen, free.prior.decode(kept["clean"]))


def test_a_scheduled_weight_of_0_leaves_the_gradient_as_it_is():
    later = sds(Schedule(((0, 0.0), (10, 1.0))))
    assert torch.equal(injected(later, pictures()), injected(sds(), pictures()))
    assert not torch.equal(injected(later, pictures(), step=10), injected(sds(), pictures(), step=10))


def test_a_direction_has_no_clean_image_to_score():
    with pytest.raises(ValueError, match="scorer: only with a contrast that predicts the noise"):
        SDSConfig(contrast=ClassifierConfig(), scorer=SimilarityConfig())
