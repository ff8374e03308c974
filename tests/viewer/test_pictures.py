"""Pictures of a scene in every channel, how many are made, and what the prior wants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from threefusion.guidance.guidance import Seen
from threefusion.guidance.noised import NoisedViews
from threefusion.testing import small_scene
from threefusion.viewer.budget import LONGEST, Budget
from threefusion.viewer.channels import CHANNELS, Pictures, untouched
from threefusion.viewer.insight import HEIGHT, pictures_of, wanted_change
from threefusion.viewer.onlookers import COARSE, Onlookers
from threefusion.viewer.viewer import Chose, Left, Looked, Pose

FRONT = np.array([[0.0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def pose(aspect: float = 1.0) -> Pose:
    return Pose(FRONT, 0.8, aspect)


def test_every_channel_is_a_picture_of_the_window():
    pictures = Pictures(*small_scene())
    assert pictures.channels == CHANNELS
    shown = {channel: pictures(pose(2.0), channel, 8) for channel in CHANNELS}
    assert {image.shape for image in shown.values()} == {(8, 16, 3)}
    assert len({image.tobytes() for image in shown.values()}) == len(CHANNELS)


def test_depth_is_bright_where_the_scene_is_near():
    scene, renderer = small_scene()
    pictures = Pictures(scene, renderer)
    depth, opacity = (pictures(pose(), channel, 17)[8, 8, 0] for channel in ("depth", "opacity"))
    assert opacity > 100 and depth > 0.5 * opacity and pictures(pose(), "depth", 17)[0, 0, 0] == 0


def test_a_renderer_without_normals_offers_none():
    scene, renderer = small_scene()

    def render(scene, views, want):
        from threefusion.errors import UserError

        if want.normals or scene.material.needs_normal(views.shading):
            raise UserError("no normals")
        return type(renderer).render(renderer, scene, views, want)

    renderer.render = render
    assert Pictures(scene, renderer).channels == ("albedo", "opacity", "depth")


def test_what_is_rendered_leaves_no_trace():
    module = torch.nn.Sequential(torch.nn.Dropout())
    module.eval(), module[0].train()
    before = torch.random.get_rng_state()
    with untouched(module):
        assert not module[0].training and not torch.is_grad_enabled()
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before) and torch.is_grad_enabled()
    assert module[0].training and not module.training
    with pytest.raises(ValueError), untouched(module):
        raise ValueError
    assert module[0].training and torch.is_grad_enabled()


def test_a_budget_holds_over_time():
    budget, spent, trained = Budget(0.1), 0.0, 0.0
    for _ in range(1000):
        trained += 0.05
        budget.earn(0.05)
        if budget.pixels >= 3000:
            seconds = 0.002 + budget.pixels * 1e-6
            budget.measure(seconds, budget.pixels)
            budget.spend(seconds)
            spent += seconds
        elif budget.speed == 0:
            budget.measure(0.003, budget.pixels)
            budget.spend(0.003)
    assert 0.05 * trained < spent < 0.11 * trained
    budget.earn(1e6)
    assert budget.seconds == LONGEST and budget.pixels == budget.largest


def test_a_moving_camera_gets_coarse_pictures_and_a_resting_one_finer_ones():
    onlookers = Onlookers(finest=400)
    assert onlookers.next(10**9, 10**9, 0.0) is None
    onlookers.handle(Looked(5, pose(2.0)), 0.0)
    assert onlookers.next(10**9, 10**9, 0.0) == (5, COARSE)
    assert onlookers.next(10, 10**9, 0.0) is None
    heights = []
    for step in range(6):
        client, height = onlookers.next(10**9, 10**9, 1.0 + step)
        onlookers.drew(client, height, 1.0 + step)
        heights.append(height)
    assert heights[0] == COARSE and heights == sorted(heights) and heights[-1] == 400
    assert onlookers.next(10**9, 10**9, 9.0, changing=False) is None
    assert onlookers.next(2 * 100**2, 2 * 100**2, 9.0) == (5, 100)  # what can never be afforded is not waited for
    onlookers.handle(Chose("depth"), 9.0)
    assert onlookers.channel == "depth" and onlookers.next(10**9, 10**9, 9.0, changing=False) == (5, COARSE)


def test_clients_are_drawn_in_turn():
    onlookers, drawn = Onlookers(finest=64), []
    for client in range(3):
        onlookers.handle(Looked(client, pose()), 0.0)
    for step in range(6):
        client, height = onlookers.next(10**9, 10**9, float(step))
        onlookers.drew(client, height, float(step))
        drawn.append(client)
    assert drawn == [0, 1, 2, 0, 1, 2]
    onlookers.handle(Left(1), 7.0)
    assert len(onlookers) == 2


def test_the_wanted_change_is_against_the_gradient():
    gradient = torch.zeros(2, 3, 4, 4)
    gradient[0, 0], gradient[1, 2, 0, 0] = 4.0, -1e-3
    change = wanted_change(gradient)
    assert change[0, 0, 0].tolist() == [0.0, 0.5, 0.5] and change[1, 0, 0].tolist() == [0.5, 0.5, 1.0]
    assert wanted_change(torch.ones(1, 4, 2, 2)).unique().tolist() == [1.0]


def test_what_the_prior_has_seen_is_shown():
    from threefusion.config.catalogue import settings_class
    from threefusion.registry import build

    prior = build(settings_class("prior", "gaussian")(image_size=8))
    x = prior.encode(torch.rand(6, 8, 8, 3), None)
    noised = NoisedViews.along(prior.schedule, x, torch.zeros_like(x), torch.full((6,), 0.5))

    class Objective:
        pass

    objective = Objective()
    objective.prior = prior
    shown = pictures_of(objective, Seen(noised, torch.zeros_like(x), torch.ones_like(x)))
    assert list(shown) == ["Views", "Noised views (t = 0.50, 0.50, 0.50, 0.50)", "One-step prediction", "Wanted change"]
    assert {image.shape for image in shown.values()} == {(HEIGHT, 4 * HEIGHT, 3)}
    assert np.array_equal(shown["One-step prediction"], shown["Views"])  # noise 0 was added, and 0 is predicted
    assert "One-step prediction" not in pictures_of(objective, Seen(noised, None, torch.ones_like(x)))
