"""Texts and their shares in every view."""

import math

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.registry import build
from threefusion.types import Cameras

FRONT, SIDE, BACK, OVERHEAD = range(4)


def cameras(azimuths_deg, elevation_deg=15.0):
    azimuth = torch.tensor([math.radians(degrees) for degrees in azimuths_deg])
    count = len(azimuth)
    elevation = torch.full((count,), math.radians(elevation_deg))
    return Cameras(torch.eye(4).repeat(count, 1, 1), torch.ones(count), azimuth, elevation, torch.ones(count), 8, 8)


def prompt_named(name, **settings):
    return build(settings_class("prompt", name)(**{"text": "a car"} | settings))


def shares_of(name, azimuths_deg, elevation_deg=15.0, **settings):
    """Shares of front, side, back and overhead in each view."""
    return prompt_named(name, **settings)(cameras(azimuths_deg, elevation_deg)).weight


@pytest.mark.parametrize(
    "degrees, shares",
    [
        (0, (1, 0, 0)),
        (45, (0.5, 0.5, 0)),
        (-45, (0.5, 0.5, 0)),
        (90, (0, 1, 0)),
        (-90, (0, 1, 0)),
        (120, (0, 2 / 3, 1 / 3)),
        (180, (0, 0, 1)),
    ],
)
def test_interpolated_views_are_blended_by_azimuth(degrees, shares):
    torch.testing.assert_close(shares_of("interpolated", [degrees]), torch.tensor([[*shares, 0.0]]), atol=1e-6, rtol=0)


def test_interpolation_is_continuous_and_its_shares_sum_to_one():
    shares = shares_of("interpolated", [-180 + step for step in range(361)])
    torch.testing.assert_close(shares.sum(1), torch.ones(361))
    assert (shares[1:] - shares[:-1]).abs().max() < 1 / 89
    torch.testing.assert_close(shares, shares.flip(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "degrees, view", [(0, FRONT), (44, FRONT), (-46, SIDE), (90, SIDE), (134, SIDE), (136, BACK), (-180, BACK)]
)
def test_binned_views_are_told_one_text(degrees, view):
    assert shares_of("binned", [degrees])[0].tolist() == torch.eye(4)[view].tolist()


@pytest.mark.parametrize("name", ["interpolated", "binned"])
def test_above_the_threshold_a_view_is_overhead(name):
    assert shares_of(name, [0, 100], 61)[:, OVERHEAD].tolist() == [1, 1]
    assert shares_of(name, [0, 100], 59)[:, OVERHEAD].tolist() == [0, 0]
    assert shares_of(name, [0, 100], -80)[:, OVERHEAD].tolist() == [0, 0]
    assert shares_of(name, [0], 31, overhead_deg=30.0)[0, OVERHEAD] == 1


def test_bins_can_be_moved():
    assert shares_of("binned", [25, 25], front_deg=20.0)[0, SIDE] == 1
    assert shares_of("binned", [100], back_deg=85.0)[0, BACK] == 1


def test_a_plain_prompt_is_one_text_for_every_view():
    prompt = prompt_named("plain")
    prompted = prompt(cameras([0, 180], 80))
    assert prompted.texts == ("a car",) and prompted.weight.tolist() == [[1], [1]]
    assert prompt.texts() == ["a car", ""]


def test_texts_follow_the_template_and_what_overrides_it():
    prompt = prompt_named("binned", text="a {car}: 1", template="{view} view of {prompt}", side="from the side")
    views = ["front view of a {car}: 1", "from the side", "back view of a {car}: 1", "overhead view of a {car}: 1"]
    assert prompt.texts() == [*views, ""]
    assert prompt(cameras([0])).texts == tuple(views)


def test_the_empty_prompt_is_always_there_and_the_negative_one_apart():
    prompt = prompt_named("interpolated", negative="ugly")
    assert prompt.texts()[-2:] == ["", "ugly"]
    prompted = prompt(cameras([0, 90, 180]))
    assert prompted.negatives == ("ugly",) and prompted.weight.shape == (3, 4)
    assert prompt_named("plain")(cameras([0])).negatives == ()


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("plain", {"text": " "}, "text: must be given"),
        ("binned", {"text": "a", "template": "{view} view"}, "template: must contain"),
        ("binned", {"text": "a", "front_deg": 100.0, "back_deg": 90.0}, "front_deg"),
        ("interpolated", {"text": "a", "overhead_deg": 91.0}, r"overhead_deg: expected a value in \[0, 90\]"),
    ],
)
def test_nonsense_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        prompt_named(name, **settings)
