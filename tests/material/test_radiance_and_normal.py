"""View-dependent colours, and normals as the image."""

from dataclasses import replace

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from torch.nn.functional import normalize

from threefusion.camera.orbit import orbit_views
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.material.diffuse import Diffuse
from threefusion.material.normal import NormalMaterial
from threefusion.material.radiance import RadianceMaterial
from threefusion.material.settings import DiffuseConfig, NormalConfig, RadianceConfig
from threefusion.ops.spherical_harmonics import spherical_harmonics
from threefusion.testing import small_scene
from threefusion.types import FieldSample, Lights, Shading, Want


def sample(width, count=32):
    generator = torch.Generator().manual_seed(0)
    normal, direction = (normalize(torch.randn(count, 3, generator=generator), dim=-1) for _ in range(2))
    features = torch.randn(count, width, generator=generator)
    return FieldSample(features, normal=normal, points=0.5 * normal, direction=direction)


def lights(count=32):
    return Lights(torch.full((count, 3), 2.0), torch.full((count, 3), 0.9), torch.full((count, 3), 0.1))


def modes(shading, count=32):
    return torch.full((count,), int(shading))


def test_harmonics_are_orthonormal():
    z, weight = (torch.from_numpy(values) for values in leggauss(8))
    turn = torch.arange(16) * (torch.pi / 8)
    ring = (1 - z.square()).sqrt()[:, None]
    directions = torch.stack([ring * turn.cos(), ring * turn.sin(), z[:, None].expand(8, 16)], -1)
    basis = spherical_harmonics(directions, 3)
    products = torch.einsum("h,hwi,hwj->ij", weight * torch.pi / 8, basis, basis)
    assert torch.allclose(products, torch.eye(16, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_radiance_is_the_sum_of_harmonics(degree):
    material = RadianceMaterial(RadianceConfig(degree=degree))
    shown = sample(material.feature_width)
    color = material(shown, lights(), modes(Shading.LIT))
    basis = spherical_harmonics(shown.direction, degree)
    for i in range(3):
        logits = sum(basis[:, k] / basis[:, 0] * shown.features[:, 3 * k + i] for k in range((degree + 1) ** 2))
        assert torch.allclose(color[:, i], logits.sigmoid(), atol=1e-5)


def test_albedo_views_and_the_texture_of_radiance_do_not_depend_on_the_view():
    material = RadianceMaterial(RadianceConfig())
    shown = sample(material.feature_width)
    constant = shown.features[:, :3].sigmoid()
    assert torch.equal(material(shown, lights(), modes(Shading.ALBEDO)), constant)
    assert torch.equal(material.textures(shown)["base_color"], constant)


def test_textureless_views_of_radiance_are_those_of_diffuse():
    material, diffuse = RadianceMaterial(RadianceConfig()), Diffuse(DiffuseConfig())
    shown = sample(material.feature_width)
    plain = FieldSample(shown.features[:, :3], normal=shown.normal, points=shown.points)
    white = modes(Shading.TEXTURELESS)
    assert torch.equal(material(shown, lights(), white), diffuse(plain, lights(), white))
    assert material.needs_normal(white) and not material.needs_normal(modes(Shading.LIT))


def test_normals_are_colours_in_world_space():
    turned = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shown = replace(sample(0), axes=turned.expand(32, 3, 3))
    for shading in Shading:
        color = NormalMaterial(NormalConfig())(shown, lights(), modes(shading))
        assert torch.allclose(color, 0.5 * shown.normal @ turned + 0.5)


def test_in_camera_space_what_faces_the_camera_is_blue_from_every_side():
    blob = DensityFieldConfig(blob="magic3d", blob_scale=50.0, normal="analytic")
    views = orbit_views(4, 0.3, 2.0, 0.8, 17, 17)
    for space, alike in (("camera", True), ("world", False)):
        scene, renderer = small_scene(geometry=blob, material=NormalConfig(space=space))
        render = renderer(scene, views, Want())
        shown = (render.image - (1 - render.opacity))[:, 8, 8] / render.opacity[:, 8, 8]
        expected = torch.tensor([0.5, 0.5, 1.0]).expand(4, 3)
        assert torch.allclose(shown, expected, atol=0.1) is alike


def test_camera_axes_are_right_up_and_backwards():
    axes = torch.linalg.qr(torch.randn(32, 3, 3, generator=torch.Generator().manual_seed(3)))[0]
    shown = sample(0)
    seen = FieldSample(shown.features, normal=axes[:, :, 2], axes=axes)
    color = NormalMaterial(NormalConfig(space="camera"))(seen, lights(), modes(Shading.LIT))
    assert torch.allclose(color, torch.tensor([0.5, 0.5, 1.0]).expand(32, 3), atol=1e-6)
