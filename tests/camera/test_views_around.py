"""Views on a sphere around a scene."""

from math import radians

import pytest
import torch

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import camera_rays


@pytest.mark.parametrize(("start", "first"), [(0.0, 0.0), (0.5, 45.0)])
def test_azimuths_are_uniform_from_the_start_and_elevations_alternate(start, first):
    camera = views_around(1.0, 4, 8, start, elevations=(0.0, 30.0)).camera
    expected = torch.tensor([first, first + 90, first + 180, first - 90]).deg2rad()
    torch.testing.assert_close(camera.azimuth.cos(), expected.cos(), atol=1e-6, rtol=0)
    torch.testing.assert_close(camera.azimuth.sin(), expected.sin(), atol=1e-6, rtol=0)
    assert camera.elevation.tolist() == pytest.approx([0, radians(30), 0, radians(30)])


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_the_ball_just_fits_into_the_image(radius):
    camera = views_around(radius, 3, 200).camera
    rays = camera_rays(camera)
    hit = (torch.linalg.cross(rays.origins, rays.directions).norm(dim=-1) < radius).view(3, 200, 200)
    assert hit[:, 0].sum(-1).max() < 30 and hit[:, 2].any(-1).all()
    assert not hit[:, 0, 0].any() and hit[:, 100, 2].all()
