"""NeuS and VolSDF on a sphere whose silhouette and depth are known."""

from dataclasses import replace
from math import exp

import pytest
import torch
from scenes import Rendered

from threefusion.background.settings import SolidConfig
from threefusion.background.solid import Solid
from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays
from threefusion.config.catalogue import settings_class
from threefusion.geometry.ellipsoid import ellipsoid_distance
from threefusion.geometry.encoding.settings import DenseGridConfig
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.sdf_field import SdfField
from threefusion.geometry.settings import SdfFieldConfig
from threefusion.material.diffuse import Diffuse
from threefusion.material.settings import DiffuseConfig
from threefusion.registry import build
from threefusion.renderer.neus import neus_thickness
from threefusion.types import Scene

SHARP = {"neus": {"initial_sharpness": 400.0}, "volsdf": {"initial_beta": 1e-3}}
VIEWS = orbit_views(2, 0.3, 2.5, 0.9, 24, 24)


def sphere(name, sampler="uniform", samples_per_ray=256, **settings):
    torch.manual_seed(0)
    field = SdfField(SdfFieldConfig(encoding=DenseGridConfig(levels=1, base_resolution=8), hidden_width=16), BuildContext(3))
    choice = settings_class("sampler", sampler)(samples_per_ray=samples_per_ray)
    renderer = build(settings_class("renderer", name)(sampler=choice, **SHARP[name] | settings))
    return Rendered(Scene(field, Diffuse(DiffuseConfig()), Solid(SolidConfig(color="#000000"))), renderer)


def truth():
    """Opacity and depth of the sphere of radius 0.5."""
    rays = camera_rays(VIEWS.camera)
    along = -(rays.origins * rays.directions).sum(-1)
    half = 0.25 - (rays.origins.square().sum(-1) - along.square())
    return half.view(2, 24, 24, 1), (along - half.clamp_min(0).sqrt()).view(2, 24, 24, 1)


@pytest.mark.parametrize("settings", [{}, {"prune_below": 1e-3}, {"sampler": "occupancy"}], ids=str)
@pytest.mark.parametrize("name", SHARP)
def test_silhouette_depth_and_normals_of_a_sphere(name, settings):
    rendered = sphere(name, **settings)
    for step in range(0, 64, 16):
        rendered.update(step)
    half, depth = truth()
    with torch.no_grad():
        render = rendered(VIEWS, normals=True)
    inside, outside = half > 0.02, half < -0.02
    assert (render.opacity[inside] > 0.98).all() and (render.opacity[outside] < 0.02).all()
    assert (render.depth - depth)[inside].abs().max() < 0.02
    rays = camera_rays(VIEWS.camera)
    hit = (rays.origins + rays.directions * depth.view(-1, 1)).view(2, 24, 24, 3) / 0.5
    assert ((hit * render.normal).sum(-1)[inside[..., 0]] > 0.99).all()


def test_thickness_of_neus_is_that_of_the_plain_formula():
    generator = torch.Generator().manual_seed(0)
    distance, slope = torch.randn(200, generator=generator).double() / 4, -torch.rand(200, generator=generator).double()
    length = torch.full((200,), 0.05).double()
    for sharpness in (1.0, 20.0, 200.0):
        alpha = 1 - (-neus_thickness(torch.tensor(sharpness).double(), distance, slope, length)).exp()
        for d, c, got in zip(distance.tolist(), slope.tolist(), alpha.tolist(), strict=True):
            before, after = (1 / (1 + exp(-sharpness * (d + end * c * 0.05 / 2))) for end in (-1, 1))
            assert abs(got - max((before - after) / before, 0.0)) < 1e-7


def test_the_step_of_finite_differences_is_a_cell_in_scene_units():
    settings = SdfFieldConfig(radius=2.0, normal="finite-difference", encoding=DenseGridConfig(levels=2, base_resolution=8))
    field = build(settings, BuildContext(3))
    assert float(field.difference_step()) == pytest.approx(2 * 2.0 / 16)
    assert build(replace(settings, difference_step=0.01), BuildContext(3)).difference_step() == 0.01


def test_weights_of_neus_are_highest_at_the_surface():
    samples = sphere("neus", initial_sharpness=50.0)(VIEWS, samples=True).samples
    half, depth = (value.flatten() for value in truth())
    central = (half > 0.15).nonzero()[:, 0]
    for ray in central.tolist():
        own = samples.ray_index == ray
        assert abs(samples.t[own][samples.weights[own].argmax()] - depth[ray]) < 0.012


@pytest.mark.parametrize("name", SHARP)
@pytest.mark.parametrize("extreme", [1e5, 1e-3])
def test_gradients_are_finite_however_sharp_and_reach_the_learned_width(name, extreme):
    settings = {"initial_sharpness": extreme, "max_sharpness": 1e6} if name == "neus" else {"initial_beta": 0.1 / extreme}
    rendered = sphere(name, samples_per_ray=32, **settings)
    rendered(VIEWS, random=True, normals=True, samples=True).image.square().sum().backward()
    parameters = [*rendered.scene.geometry.parameters(), *rendered.renderer.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


@pytest.mark.parametrize("name", SHARP)
def test_chunks_change_neither_image_nor_gradients_of_scene_and_renderer(name):
    gradients = []
    for chunk in (10**6, 1024):
        rendered = sphere(
            name, samples_per_ray=32, samples_per_chunk=chunk, **({"initial_sharpness": 20.0} if name == "neus" else {})
        )
        render = rendered(VIEWS, normals=True, samples=True, nearby=True, random=True)
        samples = render.samples
        (render.depth.square().sum() + samples.gradient.square().sum() + samples.nearby_normal[:, 0].sum()).backward()
        parameters = [*rendered.scene.geometry.parameters(), *rendered.renderer.parameters()]
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_an_ellipsoid_is_its_derivative():
    points = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    distance, gradient = ellipsoid_distance(points, (0.3, 0.5, 0.8))
    torch.testing.assert_close(torch.autograd.grad(distance.sum(), points)[0], gradient)
