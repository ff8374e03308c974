"""Turning a scene is turning everything that looks at it the other way."""

from dataclasses import replace
from math import cos, sin

import pytest
import torch
from scenes import Ball, small_field, volume

from threefusion.background.environment import Environment
from threefusion.background.settings import EnvironmentConfig
from threefusion.camera.orbit import orbit_views
from threefusion.material.settings import NormalConfig, PbrConfig
from threefusion.registry import build
from threefusion.types import Shading


@pytest.mark.parametrize("sampler", ["uniform", "occupancy"])
@pytest.mark.parametrize("angle", [0.0, 0.7, torch.pi])
def test_a_turned_scene_under_turned_cameras_and_lights_is_the_same_image(sampler, angle):
    rotation = torch.tensor([[cos(angle), -sin(angle), 0, 0], [sin(angle), cos(angle), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    views = orbit_views(3, 0.3, 2.2, 0.8, 8, 8, shading=Shading.LIT, light="orbit")
    turned_views = replace(
        views,
        camera=replace(views.camera, c2w=rotation @ views.camera.c2w),
        light=replace(views.light, position=views.light.position @ rotation[:3, :3].T),
    )
    rendered = volume(small_field(), sampler, background=Environment(EnvironmentConfig()))
    rendered.update(0)
    with torch.no_grad():
        plain = rendered(views, normals=True, samples=True)
        rendered.scene.heading.fill_(angle)
        turned = rendered(turned_views, normals=True, samples=True)
    for name in ("image", "opacity", "depth"):
        assert torch.allclose(getattr(turned, name), getattr(plain, name), atol=1e-3), name
    assert torch.allclose(turned.normal, plain.normal @ rotation[:3, :3].T, atol=2e-2)
    assert turned.samples.weights.sum() == pytest.approx(float(plain.samples.weights.sum()), rel=1e-3)
    rays = {name: samples.direction.mean(0) for name, samples in (("plain", plain.samples), ("turned", turned.samples))}
    assert torch.allclose(rays["turned"], rotation[:3, :3] @ rays["plain"], atol=1e-3)
    if angle == 0:
        assert torch.equal(turned.image, plain.image)


@pytest.mark.parametrize(
    "settings",
    [
        PbrConfig(environment="sky", rotation_deg=20.0, normal_strength=0.0),
        NormalConfig(space="world"),
        NormalConfig(space="camera"),
    ],
)
@pytest.mark.parametrize("environment_turn", [None, 0.4])
def test_light_and_axes_belong_to_the_world(settings, environment_turn):
    """A ball looks the same from everywhere, so that its heading is invisible."""
    views = orbit_views(3, 0.3, 2.2, 0.8, 8, 8, shading=Shading.LIT)
    if environment_turn is not None:
        views = replace(views, light=replace(views.light, turn=torch.full((3,), environment_turn)))
    material = build(settings)
    rendered = volume(Ball(features=lambda points: points.new_full((len(points), material.feature_width), 1.0)))
    rendered.scene.material = material
    plain = rendered(views).image
    rendered.scene.heading.fill_(0.7)
    assert torch.allclose(rendered(views).image, plain, atol=1e-3)
    assert settings == NormalConfig(space="camera") or (plain[0] - plain[1]).abs().max() > 0.1
