"""A heading turns the scene about the vertical axis, counterclockwise seen from above."""

from math import pi

import torch
from scenes import Ball, volume

from threefusion.camera.orbit import orbit_views
from threefusion.ops.rotation import turn
from threefusion.renderer.heading import turn_views
from threefusion.renderer.views import to_image
from threefusion.types import RenderOutput, Shading


def test_a_quarter_turn_of_the_scene_shows_each_view_to_the_next_camera():
    views = orbit_views(4, 0.3, 2.2, 0.8, 12, 12, Shading.LIT)
    rendered = volume(Ball(size=0.4, center=(0.4, 0.1, 0.0), features=lambda points: 4 * points))
    before = rendered(views, normals=True)
    rendered.scene.heading.fill_(pi / 2)
    after = rendered(views, normals=True)
    assert (before.image - before.image.roll(1, 0)).abs().max() > 0.1
    for name in ("image", "opacity", "depth"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name).roll(1, 0), atol=1e-4, rtol=0)
    turned = turn(before.normal.roll(1, 0), torch.tensor(pi / 2))
    certain = (after.opacity > 0.5).expand_as(turned)
    torch.testing.assert_close(after.normal[certain], turned[certain], atol=1e-3, rtol=0)


def test_turned_cameras_keep_their_azimuth_true_to_their_position():
    views = turn_views(orbit_views(8, 0.3, 2.2, 0.8, 4, 4), torch.tensor(0.7))
    x, y, _ = views.camera.position.unbind(-1)
    torch.testing.assert_close(views.camera.azimuth, torch.atan2(y, x), atol=1e-5, rtol=0)


def test_normals_are_colours_over_white():
    normal = torch.tensor([[[[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]]]])
    opacity = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1)
    image = to_image(RenderOutput(torch.zeros_like(normal), opacity, opacity, normal=normal), "normal")
    assert image.tolist() == [[[[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]]]]
