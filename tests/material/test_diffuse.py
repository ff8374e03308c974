import torch

from threefusion.material.diffuse import Diffuse
from threefusion.material.settings import DiffuseConfig
from threefusion.types import FieldSample, Lights, Shading


def sample(count=6):
    generator = torch.Generator().manual_seed(0)
    points, normal = torch.randn(2, count, 3, generator=generator)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    return FieldSample(features=torch.randn(count, 3, generator=generator), normal=normal, points=points)


def lights(count=6):
    position, color, ambient = torch.rand(3, count, 3, generator=torch.Generator().manual_seed(1))
    return Lights(3 * position, color, ambient)


def shade(field, shading, light=None):
    count = len(field.features)
    return Diffuse(DiffuseConfig())(field, light or lights(count), torch.as_tensor(shading))


def test_shading_is_the_papers_equation_sample_by_sample():
    field, light = sample(), lights()
    modes = [Shading.LIT, Shading.TEXTURELESS, Shading.ALBEDO] * 2
    shown = shade(field, modes)
    for i, mode in enumerate(modes):
        albedo = torch.sigmoid(field.features[i])
        towards = light.position[i] - field.points[i]
        lambert = max(0.0, float(field.normal[i] @ towards / towards.norm()))
        white = light.color[i] * lambert + light.ambient[i]
        expected = {Shading.LIT: albedo * white, Shading.TEXTURELESS: white, Shading.ALBEDO: albedo}[mode]
        assert torch.allclose(shown[i], expected, atol=1e-6)


def test_a_light_behind_the_surface_leaves_only_the_ambient_part():
    field = FieldSample(features=torch.zeros(1, 3), normal=torch.tensor([[0.0, 0, 1]]), points=torch.zeros(1, 3))
    light = Lights(torch.tensor([[0.0, 0, -1]]), torch.ones(1, 3), torch.full((1, 3), 0.3))
    assert torch.allclose(shade(field, [Shading.TEXTURELESS], light), torch.full((1, 3), 0.3))


def test_normals_are_wanted_for_lit_views_alone():
    material = Diffuse(DiffuseConfig())
    assert not material.needs_normal(torch.tensor([0, 0]))
    assert material.needs_normal(torch.tensor([0, 1])) and material.needs_normal(torch.tensor([2]))


def test_without_normals_the_albedo_is_shown():
    field = FieldSample(features=torch.zeros(2, 3), points=torch.zeros(2, 3))
    assert torch.allclose(shade(field, [0, 2]), torch.full((2, 3), 0.5))


def test_the_baked_base_colour_is_the_albedo():
    field = sample()
    assert torch.equal(Diffuse(DiffuseConfig()).textures(field)["base_color"], shade(field, [0] * 6))
