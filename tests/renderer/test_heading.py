"""A heading turns the scene about the vertical axis, counterclockwise seen from above."""

from math import pi

import torch
from scenes import Ball, volume

from threefusion.camera.orbit import orbit_views
from threefusion.renderer.heading import turn
from threefusion.types import Shading


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
