from dataclasses import replace

import pytest
import torch

from threefusion.background.environment import Environment
from threefusion.background.settings import EnvironmentConfig, SolidConfig
from threefusion.background.solid import Solid
from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays

VIEWS = orbit_views(8, 0.2, 2.0, 0.8, 3, 4)


def colors(background, random=False):
    rays = camera_rays(VIEWS.camera)
    return background(rays.directions, rays.view_index, VIEWS, random).reshape(8, 12, 3)


def test_a_fixed_colour_is_the_one_written():
    assert torch.allclose(colors(Solid(SolidConfig(color="#ff8000"))), torch.tensor([1.0, 128 / 255, 0.0]).expand(8, 12, 3))


def test_a_learned_colour_starts_at_the_one_written_and_has_a_gradient():
    solid = Solid(SolidConfig(color="#336699", learned=True))
    shown = colors(solid)
    assert torch.allclose(shown[0, 0], torch.tensor([0x33, 0x66, 0x99]) / 255)
    shown.sum().backward()
    assert (solid.logits.grad > 0).all()


def test_random_colours_are_one_per_view_and_only_where_wanted():
    solid = Solid(SolidConfig(random_probability=1.0))
    shown = colors(solid, random=True)
    assert torch.equal(shown, shown[:, :1].expand_as(shown))
    assert len({tuple(color) for color in shown[:, 0].tolist()}) == 8
    assert torch.equal(shown, colors(solid, random=True))
    assert (colors(solid) == 1).all()


def test_views_of_a_group_share_their_random_colour():
    views = orbit_views(4, 0.3, 2.0, 0.8, 2, 2)
    views = replace(views, group=views.index // 2)
    rays = camera_rays(views.camera)
    drawn = Solid(SolidConfig(random_probability=1.0))(rays.directions, rays.view_index, views, True).view(4, 4, 3)[:, 0]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[2], drawn[3]) and not torch.equal(drawn[0], drawn[2])


def test_the_share_of_random_views_is_the_one_asked_for():
    shown = colors(Solid(SolidConfig(color="#000000", random_probability=0.5)), random=True)
    replaced = shown.any(-1).all(-1)
    assert torch.equal(replaced, VIEWS.rand("background", 4)[:, 0] < 0.5)
    assert replaced.any() and not replaced.all()


def test_the_panorama_depends_on_the_direction_and_is_learned():
    torch.manual_seed(0)
    environment = Environment(EnvironmentConfig(random_probability=0.0))
    shown = colors(environment)
    assert shown.std() > 0.01 and shown.min() >= 0 and shown.max() <= 1
    shown.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in environment.parameters())


def test_views_with_flat_colours_leave_the_panorama_a_zero_gradient_rather_than_none():
    environment = Environment(EnvironmentConfig(random_probability=1.0))
    colors(environment, random=True).sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in environment.parameters())


@pytest.mark.parametrize("color", ["white", "#12345", "#gggggg", "# 12345"])
def test_colours_are_six_hexadecimal_digits(color):
    with pytest.raises(ValueError, match=r"^color: "):
        SolidConfig(color=color)
