"""Its contract, and values that can be worked out by hand."""

from dataclasses import replace

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.registry import build
from threefusion.testing import check_component, synthetic_render, views


def variance(image, opacity, **settings):
    batch = views(len(image), size=image.shape[1])
    render = replace(synthetic_render(batch), image=image, opacity=opacity)
    return float(build(settings_class("loss", "color-variance")(**settings))(render, batch))


def test_contract():
    check_component("loss", "color-variance")


def test_one_colour_has_no_variance_and_two_have_their_distance():
    image = torch.zeros(1, 4, 4, 3)
    opaque = torch.ones(1, 4, 4, 1)
    assert variance(image + 0.3, opaque) == pytest.approx(0, abs=1e-9)
    image[:, :2, :, 0] = 1
    assert variance(image, opaque) == pytest.approx(0.25)


def test_pixels_beside_the_object_do_not_count():
    image, opacity = torch.zeros(1, 4, 4, 3), torch.ones(1, 4, 4, 1)
    image[:, 0], opacity[:, 0] = 1, 0.4
    assert variance(image, opacity) == pytest.approx(0)
    assert variance(image, opacity, min_opacity=0.1) > 0.01


def test_a_view_of_nothing_is_no_trouble():
    assert variance(torch.rand(1, 4, 4, 3), torch.zeros(1, 4, 4, 1)) == 0
