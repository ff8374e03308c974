"""Distributions of the point lights, and the moving light of orbits."""

from math import pi, radians

import torch
from torch.nn.functional import cosine_similarity, normalize

from threefusion.camera.light import around_camera_direction, cone_about_camera
from threefusion.camera.orbit import orbit_views

COUNT = 20000


def cameras():
    """Positions on a sphere of radius 2."""
    return 2 * normalize(torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(0)), dim=-1)


def angle_to(camera, light):
    return cosine_similarity(light.double(), camera.double()).clamp(-1, 1).acos()


def test_the_camera_direction_light_is_spread_by_its_noise():
    """The angle of camera + noise to the camera is the noise across over the distance: a Rayleigh distribution."""
    camera, std = cameras(), 0.05
    noise = std * torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(1))
    angle = angle_to(camera, around_camera_direction(camera, noise, torch.full((COUNT,), 1.2)))
    assert abs(angle.mean() / (std / 2 * (pi / 2) ** 0.5) - 1) < 0.02
    assert angle_to(camera, around_camera_direction(camera, 0 * noise, torch.full((COUNT,), 1.2))).max() < 1e-3


def test_the_camera_direction_light_is_in_the_direction_of_camera_plus_noise():
    camera = torch.tensor([[2.0, 0.0, 0.0]])
    light = around_camera_direction(camera, torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([3.0]))
    torch.testing.assert_close(light, torch.tensor([[3.0, 3.0, 0.0]]) / 2**0.5)


def test_cone_lights_have_uniform_and_independent_angles():
    half_angle = radians(40)
    uniform = torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(2))
    camera = torch.tensor([2.0, 0.0, 0.0]).expand(COUNT, 3)
    light = cone_about_camera(camera, half_angle, uniform, torch.ones(COUNT))
    tilt, turn = angle_to(camera, light), torch.atan2(light[:, 2], light[:, 1])
    for low in torch.linspace(0, 1, 5)[:-1] * half_angle:
        band = turn[(tilt >= low) & (tilt < low + half_angle / 4)]
        assert abs(len(band) / COUNT - 1 / 4) < 0.02
        assert abs(band.cos().mean()) < 0.05 and abs(band.sin().mean()) < 0.05


def test_the_orbiting_light_circles_the_other_way_at_45_degrees():
    views = orbit_views(8, radians(10), 2.5, radians(40), 4, 4, light="orbit")
    x, y, z = views.light.position.double().unbind(-1)
    torch.testing.assert_close(z / 2.5, torch.full_like(z, 0.5**0.5), atol=1e-6, rtol=0)
    turn = torch.remainder(torch.atan2(y, x) + views.camera.azimuth + 1e-4, 2 * pi)
    assert (turn < 2e-4).all()
