from dataclasses import replace

import pytest
import torch
from scenes import Ball, volume

from threefusion.camera.orbit import orbit_views
from threefusion.renderer.pruning import INTERVAL, VisibilityPruning


def observed(share, threshold=0.01):
    pruning = VisibilityPruning(threshold)
    pruning.observe(pruning.measure(torch.tensor([1.0] * round(10 * share) + [0.0] * round(10 * (1 - share)))))
    return pruning


@pytest.mark.parametrize(("share", "active"), [(0.9, False), (0.3, True)])
def test_it_prunes_only_while_few_samples_are_seen(share, active):
    pruning = observed(share)
    assert not pruning.is_active(), "nothing changes before the next decision"
    pruning.update(INTERVAL - 1)
    assert not pruning.is_active()
    pruning.update(INTERVAL)
    assert pruning.is_active() == active


def test_a_resumed_run_goes_on_as_decided():
    first = observed(0.3)
    first.update(0)
    first.observe(first.measure(torch.ones(4)))
    second = VisibilityPruning(0.01)
    second.load_state_dict(first.state_dict())
    assert second.is_active() and first.is_active()
    for pruning in (first, second):
        pruning.update(INTERVAL)
        assert not pruning.is_active()


@torch.no_grad()
def test_without_gradients_it_prunes_whenever_there_is_a_threshold_and_measures_nothing():
    assert observed(0.9).is_active() and observed(0.9).measure(torch.zeros(5)) is None
    assert not VisibilityPruning(0.0).is_active()


def test_training_an_opaque_scene_asks_for_colours_only_where_something_is_seen():
    asked = []
    ball = Ball(density=80.0, features=lambda p: asked.append(len(p)) or torch.zeros_like(p))
    rendered = volume(ball, prune_below=1e-3)
    batch = orbit_views(3, 0.3, 2.2, 0.8, 16, 16)
    images = []
    for step in (0, INTERVAL):
        rendered.update(step)
        out = rendered(batch, random=True)
        rendered.renderer.after_step(out, step)
        images.append(out.image)
    assert asked[1] < 0.5 * asked[0]
    assert (images[0] - images[1]).abs().max() < 0.02


def test_what_is_pruned_is_judged_by_the_cones_that_are_rendered():
    class Blurred(Ball):
        """Solid to cones and empty to points."""

        needs_covariance = True

        def forward(self, points, normals, covariance=None):
            assert covariance is not None
            return replace(super().forward(points, normals), density=super().density(points))

        def density(self, points, covariance=None):
            return torch.zeros_like(points[:, :1]) if covariance is None else super().density(points)

    batch = orbit_views(2, 0.3, 2.2, 0.8, 12, 12)
    with torch.no_grad():
        whole, pruned = (volume(Blurred(density=20.0), prune_below=least)(batch).opacity for least in (0.0, 1e-3))
    assert whole.max() > 0.9 and torch.allclose(whole, pruned, atol=0.02)
