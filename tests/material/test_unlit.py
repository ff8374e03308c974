"""Materials that say so show functions of the features alone where no view needs normals."""

import pytest
import torch
from torch.nn.functional import normalize

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import orbit_views
from threefusion.config.catalogue import settings_class
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.registry import build
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import FieldSample, Lights, Scene, Shading, Want


@pytest.mark.parametrize("name", ["diffuse", "pbr", "latent"])
def test_neither_light_nor_direction_nor_normal_changes_an_albedo_view(name):
    material = build(settings_class("material", name)())
    assert material.is_unlit(torch.full((2,), int(Shading.ALBEDO)))
    position, color, ambient, points, normal, direction = torch.randn(6, 9, 3, generator=torch.Generator().manual_seed(0))
    features = torch.randn(9, material.feature_width)
    shading = torch.full((9,), int(Shading.ALBEDO))
    full = FieldSample(features, normal=normalize(normal, dim=-1), points=points, direction=normalize(direction, dim=-1))
    lit = material(full, Lights(position, color.abs(), ambient.abs()), shading)
    nothing = torch.zeros(9, 3)
    assert torch.equal(material(FieldSample(features, points=points), Lights(nothing, nothing, nothing), shading), lit)


@pytest.mark.parametrize("name", ["diffuse", "pbr"])
def test_a_lit_view_and_a_material_that_reads_directions_are_shaded(name):
    lit = torch.tensor([int(Shading.ALBEDO), int(Shading.LIT)])
    assert not build(settings_class("material", name)()).is_unlit(lit)
    assert not build(settings_class("material", "radiance")()).is_unlit(lit[:1])


def test_a_render_without_lights_is_that_with_them(monkeypatch):
    material = build(settings_class("material", "diffuse")())
    torch.manual_seed(0)
    scene = Scene(build(DensityFieldConfig(), BuildContext(material.feature_width)), material, build(SolidConfig()))
    renderer, views = build(VolumeConfig()), orbit_views(2, 0.3, 2.2, 0.8, 6, 6)
    results = []
    for unlit in (True, False):
        monkeypatch.setattr(type(material), "unlit_reads_features", unlit)
        render = renderer(scene, views, Want(normals=True))
        gradients = torch.autograd.grad(render.image.square().sum(), list(scene.parameters()))
        results.append([render.image, render.normal, *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
