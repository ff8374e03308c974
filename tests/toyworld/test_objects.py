"""Shapes, colours and renderings of the toy world against naive versions."""

from math import pi

import pytest
import torch

from threefusion.camera.orbit import cameras_around
from threefusion.toyworld.catalogue import CLASSES, SYNONYMS
from threefusion.toyworld.objects import ToyObject, class_mesh, class_normal, class_sdf
from threefusion.toyworld.palette import COLORS
from threefusion.toyworld.primitives import cone
from threefusion.toyworld.render import render_surface
from training.rendering import random_cameras, shade

SAMPLE = ("mug", "car", "chair", "house")


def views(size: int = 48, count: int = 3):
    azimuth = torch.linspace(0, 2, count)
    return cameras_around(azimuth, 0.4, 2.0, pi / 4, (size, size))


def sphere_trace(name, cameras, steps=160):
    """Naive silhouette by sphere tracing."""
    size = cameras.height
    half = (cameras.fovy / 2).tan()[:, None, None]
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = axis[None, None, :] * half, -axis[None, :, None] * half
    local = torch.stack(torch.broadcast_tensors(x, y, torch.tensor(-1.0)), -1)
    direction = torch.nn.functional.normalize(torch.einsum("bij,bhwj->bhwi", cameras.c2w[:, :3, :3], local), dim=-1)
    origin = cameras.position[:, None, None].expand_as(direction)
    distance = torch.full(direction.shape[:3], 1.2)
    for _ in range(steps):
        gap = class_sdf(name, (origin + direction * distance[..., None]).view(-1, 3)).view(distance.shape)
        # ellipsoids are exact to first order only, so steps are shortened
        distance = torch.where(distance < 3, distance + 0.8 * gap, distance)
    return gap.abs() < 2e-3, origin + direction * distance[..., None]


@pytest.mark.parametrize("name", SAMPLE)
def test_rasterized_silhouettes_agree_with_sphere_tracing(name):
    cameras = views()
    hit, points = sphere_trace(name, cameras)
    surface = render_surface(name, cameras)
    disagree = (hit != surface.mask).float().mean()
    assert disagree < 0.004
    both = hit & surface.mask
    error = (points[both] - surface.position[both]).norm(dim=-1)
    assert error.median() < 2e-3
    assert (error < 1e-2).float().mean() > 0.98


def test_stretched_objects():
    cameras, stretch = views(), (1.06, 0.95, 1.02)
    surface = render_surface("bunny", cameras, stretch=stretch)
    points = surface.position[surface.mask] / torch.tensor(stretch)
    assert class_sdf("bunny", points).abs().quantile(0.98) < 3e-3
    # a normal is square to the stretched surface: to first order the distance does not change along it
    along = torch.linalg.cross(surface.normal[surface.mask], torch.randn(points.shape))
    step = 2e-3 * torch.nn.functional.normalize(along, dim=-1)
    assert class_sdf("bunny", points + step / torch.tensor(stretch)).abs().quantile(0.9) < 2e-3


@pytest.mark.parametrize("name", SAMPLE)
def test_normals_equal_finite_differences(name):
    vertices, _ = class_mesh(name, 48)
    points = vertices[::20] + 0.004
    step = 1e-3
    axes = torch.eye(3) * step
    slopes = torch.stack([class_sdf(name, points + a) - class_sdf(name, points - a) for a in axes], -1) / (2 * step)
    agree = (torch.nn.functional.normalize(slopes, dim=-1) * class_normal(name, points)).sum(-1)
    # creases belong to two sides
    assert (agree > 0.99).float().mean() > 0.9


@pytest.mark.parametrize("sizes", [(0.44, 0.012, 0.54), (0.2, 0.29, 0.18), (0.4, 0.2, 0.05)])
def test_cone_is_exact(sizes):
    bottom, top, height = sizes
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    u = torch.linspace(0, 1, 2001)
    side = torch.stack([bottom + (top - bottom) * u, 2 * height * u - height], -1)
    lids = [torch.stack([u * r, torch.full_like(u, z)], -1) for r, z in ((bottom, -height), (top, height))]
    profile = torch.stack([points[:, :2].norm(dim=-1), points[:, 2]], -1)
    nearest = torch.cdist(profile, torch.cat([side, *lids])).amin(1)
    inside = (profile[:, 1].abs() < height) & (profile[:, 0] < bottom + (top - bottom) * (profile[:, 1] + height) / (2 * height))
    assert (cone(points, *sizes) - torch.where(inside, -nearest, nearest)).abs().max() < 1e-3


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_fits_into_the_ball_and_has_the_captions_colour(name):
    direction = torch.nn.functional.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert class_sdf(name, 0.7 * direction).min() > -1e-3
    assert any(part.color is None for part in CLASSES[name])


@pytest.mark.parametrize("name", ("cube", "teapot"))
def test_meshes_are_closed_and_wound_outwards(name):
    vertices, faces = class_mesh(name, 48)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = edges[:, 0] * len(vertices) + edges[:, 1]
    backward = edges[:, 1] * len(vertices) + edges[:, 0]
    assert torch.equal(forward.sort().values, backward.sort().values)
    a, b, c = vertices[faces].unbind(1)
    volume = (a * torch.cross(b, c, dim=-1)).sum() / 6
    assert volume > 0
    if name == "cube":
        assert volume == pytest.approx(0.76**3, rel=0.01)


def test_albedo_has_the_captions_colour_on_its_parts():
    rocket = ToyObject("rocket", "blue")
    nose, body = rocket.albedo(torch.tensor([[0.0, 0.0, 0.6], [-0.19, 0.0, 0.0]]))
    assert torch.allclose(nose, torch.tensor(COLORS["blue"]))
    assert (body > 0.9).all()
    with pytest.raises(ValueError):
        ToyObject("dragon", "blue")
    assert all(meaning in CLASSES for meaning in SYNONYMS.values())


def test_random_cameras_are_in_range():
    cameras = random_cameras(800, 8, torch.Generator().manual_seed(0))
    degrees = cameras.elevation.rad2deg()
    assert degrees.min() >= -10 and 80 < degrees.max() <= 90
    assert 0.2 < (degrees > 45).float().mean() < 0.4
    assert cameras.distance.min() < 1.6 and cameras.distance.max() > 2.3
    # the ball that holds the object stays nearly inside the frame
    assert (0.7 / (cameras.distance * (cameras.fovy / 2).tan())).max() < 1.25
    assert cameras.azimuth.abs().max() <= pi
    front = cameras_around(torch.zeros(1), 0.0, 2.0, 0.8, (8, 8))
    assert torch.allclose(front.position, torch.tensor([[2.0, 0.0, 0.0]]))
    right = cameras_around(torch.full((1,), pi / 2), 0.0, 2.0, 0.8, (8, 8))
    assert torch.allclose(right.position, torch.tensor([[0.0, 2.0, 0.0]]), atol=1e-6)


def test_shading_is_ambient_in_the_dark_and_albedo_in_full_light():
    albedo, normal, position = torch.rand(5, 3), torch.tensor([[0.0, 0.0, 1.0]]).expand(5, 3), torch.zeros(5, 3)
    above, below = torch.tensor([0.0, 0.0, 2.0]), torch.tensor([0.0, 0.0, -2.0])
    ambient = torch.tensor([0.3])
    assert torch.allclose(shade(albedo, normal, position, above, ambient), albedo)
    assert torch.allclose(shade(albedo, normal, position, below, ambient), 0.3 * albedo)
