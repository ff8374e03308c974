"""The physically based material: identities, plain twins, gradients at the limits."""

from math import pi

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.shading import difference, furnace, material, recovered, surface
from threefusion.material.environment import Environment, octahedral, panorama, panorama_directions
from threefusion.material.microfacet import MAX_WIDTH, distribution, lobe_table, schlick, specular_lobe, visibility
from threefusion.material.pbr import Pbr
from threefusion.material.settings import PbrConfig
from threefusion.ops.color import decode_srgb, encode_srgb, shoulder
from threefusion.types import FieldSample, Lights, Shading

WHITE = (1.0, 1.0, 1.0)


def vectors(count=64, seed=0):
    return normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def sample(count=64, width=8, normal=None, direction=None):
    features = torch.randn(count, width, generator=torch.Generator().manual_seed(1))
    normal = vectors(count) if normal is None else normal
    return FieldSample(
        features, normal=normal, points=0.5 * normal, direction=vectors(count, 2) if direction is None else direction
    )


def lights(count=64, turn=None):
    return Lights(2 * vectors(count, 3), torch.full((count, 3), 0.9), torch.full((count, 3), 0.1), turn)


def modes(shading, count=64):
    return torch.full((count,), int(shading))


def test_fresnel_at_normal_incidence_is_four_percent_and_white_at_grazing():
    f0 = 0.04
    share = schlick(torch.tensor([1.0, 0.0]))
    assert (f0 + (1 - f0) * share).tolist() == pytest.approx([0.04, 1.0])
    smooth = specular_lobe(lobe_table(), torch.tensor([[1.0]]), torch.tensor([[0.05]]))
    assert (f0 * smooth.scale + smooth.bias).item() == pytest.approx(0.04, abs=1e-3)


def test_the_lobe_is_reciprocal():
    view, towards, normal = vectors(seed=1), vectors(seed=2), torch.tensor([[0.0, 0, 1]])
    view[:, 2], towards[:, 2] = view[:, 2].abs(), towards[:, 2].abs()
    shader = Pbr(PbrConfig(energy_compensation=False, normal_strength=0.0))
    of = surface(WHITE, 1.0, 0.4, 64)
    lobe = specular_lobe(shader.lobes, view[:, 2:], of.roughness)
    reflectance = shader.reflectance(of, lobe)
    there = shader.brdf(of, reflectance, normal.expand_as(view), view, towards)
    back = shader.brdf(of, reflectance, normal.expand_as(view), towards, view)
    assert torch.allclose(there, back, rtol=1e-4)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
def test_projected_microfacets_cover_the_surface(alpha):
    """The integral of D (n.h) over the hemisphere is 1."""
    cosine = 1 - torch.linspace(0, 1, 100_001, dtype=torch.float64).square()
    value = distribution(1 - cosine.square(), torch.tensor(alpha, dtype=torch.float64)) * cosine
    assert (2 * pi * torch.trapezoid(value, cosine)).abs().item() == pytest.approx(1, abs=1e-3)


def test_masking_at_normal_incidence_is_a_quarter():
    one = torch.ones(1)
    assert visibility(one, one, torch.tensor([0.5])).item() == pytest.approx(0.25)


@pytest.mark.parametrize("roughness", [0.08, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("metallic", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n_dot_v", [1.0, 0.6, 0.2])
def test_a_white_furnace_returns_everything(roughness, metallic, n_dot_v):
    split, integral = furnace(surface(WHITE, metallic, roughness, 1), n_dot_v, material("constant"), 1 << 14)
    assert split == pytest.approx(1, abs=0.005)
    assert integral == pytest.approx(1, abs=0.02)


def test_without_compensation_a_rough_metal_is_darker():
    shader = Pbr(PbrConfig(environment="constant", energy_compensation=False, normal_strength=0.0))
    of = surface(WHITE, 1.0, 1.0, 1)
    assert shader.reflectance(of, specular_lobe(shader.lobes, torch.ones(1, 1), of.roughness)).specular.mean() < 0.75


@pytest.mark.parametrize(
    ("environment", "color", "metallic", "roughness"),
    [
        ("studio", (1.0, 0.88, 0.66), 1.0, 0.08),
        ("sky", (1.0, 0.88, 0.66), 1.0, 0.2),
        ("studio", (1.0, 0.88, 0.66), 1.0, 1.0),
        ("studio", (0.9, 0.35, 0.3), 0.0, 0.8),
        ("sky", (0.9, 0.35, 0.3), 0.0, 0.3),
    ],
)
def test_spheres_match_monte_carlo(environment, color, metallic, roughness):
    assert difference(environment, color, metallic, roughness, size=12) < 0.03


@pytest.mark.parametrize("environment", ["studio", "sky"])
@pytest.mark.parametrize("roughness", [0.05, 0.4, 0.6, 0.8])
def test_rough_metals_match_monte_carlo(environment, roughness):
    """A single lobe round the mirror direction is off by up to 37 %."""
    assert difference(environment, WHITE, 1.0, roughness, size=12) < 0.03


def test_lobes_share_all_the_light_and_a_smooth_surface_is_a_mirror():
    axis = torch.linspace(0, 1, 21)[:, None]
    for roughness in (0.0, 0.05, 0.5, 1.0):
        lobe = specular_lobe(lobe_table(), axis, torch.full_like(axis, roughness))
        assert torch.allclose(sum(lobe.share), torch.ones(21, 1), atol=1e-5)
        assert all((width <= MAX_WIDTH).all() and (width >= 0).all() for width in lobe.width)
    smooth = specular_lobe(lobe_table(), axis, torch.zeros_like(axis))
    assert all((value == 0).all() for value in (*smooth.lean, *smooth.width))


@pytest.mark.parametrize(("metallic", "roughness"), [(0.0, 0.3), (1.0, 0.6)])
def test_metallic_and_roughness_are_recovered_from_renders(metallic, roughness):
    found = recovered(metallic, roughness, steps=100)
    assert found == pytest.approx((metallic, roughness), abs=0.1)


def test_irradiance_is_the_mean_weighted_by_the_cosine():
    image, directions, normal = panorama("studio").reshape(-1, 3), panorama_directions(64), vectors(32)
    area = directions[:, :1, :2].norm(dim=-1).expand(64, 128).reshape(-1, 1)
    weight = (normal @ directions.reshape(-1, 3).mT).clamp_min(0) * area.mT
    expected = weight @ image / weight.sum(1, keepdim=True)
    error = (Environment("studio").irradiance(normal) - expected).abs().mean() / expected.mean()
    assert error < 0.02


def test_reflections_are_the_lobes_of_the_panorama():
    """Against the plain sum over the texels, at a width that is stored."""
    width = 6 * MAX_WIDTH / 15
    image, directions, middle = panorama("sky").reshape(-1, 3), panorama_directions(64), vectors(32)
    area = directions[:, :1, :2].norm(dim=-1).expand(64, 128).reshape(-1, 1)
    cosine = (middle @ directions.reshape(-1, 3).mT).clamp_min(0)
    weight = distribution((1 - cosine) / 2, torch.tensor(width**2)) * cosine * area.mT
    expected = weight @ image / weight.sum(1, keepdim=True)
    assert torch.allclose(Environment("sky").reflection(middle, torch.full((32, 1), width)), expected, rtol=0.03)


def test_the_octahedral_map_has_no_seam():
    """On both sides of every fold the reflections are equal."""
    environment, turn = Environment("studio"), torch.linspace(0, 2 * pi, 200)
    for axis in range(3):
        around = torch.stack([turn.cos(), turn.sin()], -1)
        points = torch.cat([around[:, :axis], torch.full((200, 1), 1e-5), around[:, axis:]], -1)
        mirrored = points * torch.ones(3).index_fill(0, torch.tensor(axis), -1.0)
        width = torch.full((200, 1), 0.2)
        assert torch.allclose(environment.reflection(points, width), environment.reflection(mirrored, width), atol=2e-3)
    assert octahedral(torch.tensor([0.0, 0.0, 1.0])).tolist() == [0, 0]


def test_lookups_have_the_derivatives_of_their_values():
    environment, table = Environment("studio").double(), lobe_table().double()
    directions, width = vectors(16).double().requires_grad_(), torch.linspace(0.21, 0.93, 16).double()[:, None].requires_grad_()
    assert torch.autograd.gradcheck(environment.reflection, (directions, width), eps=1e-7, atol=1e-4)
    assert torch.autograd.gradcheck(environment.irradiance, (directions,), eps=1e-6, atol=1e-4)
    n_dot_v, roughness = (
        torch.rand(8, 1, generator=torch.Generator().manual_seed(4)).double().requires_grad_() for _ in range(2)
    )

    def scale_and_bias(cosine, rough):
        lobe = specular_lobe(table, cosine, rough)
        return lobe.scale, lobe.bias

    assert torch.autograd.gradcheck(scale_and_bias, (n_dot_v, roughness), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("tilt", [0.0, 1e-8, 1e-4, -1e-4, -1.0, 1.0])
@pytest.mark.parametrize("value", [-30.0, 0.0, 30.0])
def test_gradients_are_finite_where_the_view_grazes(tilt, value):
    normal = torch.tensor([[0.0, 0.0, 1.0]], requires_grad=True)
    direction = normalize(torch.tensor([[1.0, 0.0, -tilt]]), dim=-1) if abs(tilt) < 1 else torch.tensor([[0.0, 0.0, -tilt]])
    features = torch.full((1, 8), value, requires_grad=True)
    seen = FieldSample(features, normal=normal, points=torch.zeros(1, 3), direction=direction)
    for lamp in ([2.0, 0.0, 0.0], [0.0, 0.0, 2.0], [-2.0, 0.0, 1e-6], [0.0, 0.0, -2.0]):
        light = Lights(torch.tensor([lamp]), torch.ones(1, 3), torch.zeros(1, 3))
        color = Pbr(PbrConfig(min_roughness=0.02))(seen, light, modes(Shading.LIT, 1))
        gradients = torch.autograd.grad(color.sum(), (features, normal))
        assert color.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
        assert ((color >= 0) & (color <= 1)).all()


def test_a_missing_normal_and_a_vanishing_one_stay_finite():
    shader, shown = Pbr(PbrConfig()), sample()
    bare = FieldSample(shown.features, points=shown.points, direction=shown.direction)
    assert torch.equal(shader(bare, lights(), modes(Shading.LIT)), shown.features[:, :3].sigmoid())
    empty = sample(normal=torch.zeros(64, 3))
    features = empty.features.requires_grad_()
    color = shader(empty, lights(), modes(Shading.LIT))
    assert color.isfinite().all() and torch.autograd.grad(color.sum(), features)[0].isfinite().all()


def test_albedo_views_show_the_base_colour_and_textureless_ones_forget_it():
    shader, shown = Pbr(PbrConfig()), sample()
    assert torch.equal(shader(shown, lights(), modes(Shading.ALBEDO)), shown.features[:, :3].sigmoid())
    repainted = FieldSample(shown.features.clone(), normal=shown.normal, points=shown.points, direction=shown.direction)
    repainted.features[:, :5] += 1
    white = [shader(one, lights(), modes(Shading.TEXTURELESS)) for one in (shown, repainted)]
    assert torch.equal(*white)
    assert not torch.allclose(*(shader(one, lights(), modes(Shading.LIT)) for one in (shown, repainted)))


def test_a_white_matte_surface_that_faces_the_light_shows_its_colour():
    shader = Pbr(PbrConfig(environment_intensity=0.0, point_intensity=1.0, normal_strength=0.0))
    normal = torch.tensor([[0.0, 0.0, 1.0]])
    seen = FieldSample(torch.zeros(1, 5), normal=normal, points=torch.zeros(1, 3), direction=-normal)
    light = Lights(2 * normal, torch.tensor([[0.5, 0.4, 0.3]]), torch.zeros(1, 3))
    shown = shader.radiance(surface(WHITE, 0.0, 1.0, 1), normal, seen, light)
    assert torch.allclose(shown, light.color, rtol=0.05)


def test_the_tilt_of_the_normal_is_bounded_and_has_no_seam():
    shader, normal = Pbr(PbrConfig(normal_strength=0.5)), vectors(512)
    features = 100 * torch.randn(512, 8, generator=torch.Generator().manual_seed(5))
    tilted = shader.shading_normal(normal, features)
    slope = torch.linalg.cross(normal, tilted).norm(dim=-1) / (normal * tilted).sum(-1)
    assert 0.4 < slope.max() <= 0.5001
    nearby = normalize(normal + 1e-4, dim=-1)
    assert (shader.shading_normal(nearby, features) - tilted).norm(dim=-1).max() < 1e-3
    assert Pbr(PbrConfig(normal_strength=0.0)).feature_width == 5


def test_a_turned_environment_is_the_scene_turned_the_other_way():
    shader, angle = Pbr(PbrConfig(point_intensity=0.0, normal_strength=0.0)), 0.7
    turned = shader(sample(width=5), lights(turn=torch.full((64,), angle)), modes(Shading.LIT))
    cosine, sine = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    back = torch.tensor([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    moved = sample(width=5, normal=vectors() @ back.mT, direction=vectors(64, 2) @ back.mT)
    assert torch.allclose(turned, shader(moved, lights(), modes(Shading.LIT)), atol=1e-5)
    setting = Pbr(PbrConfig(point_intensity=0.0, normal_strength=0.0, rotation_deg=float(torch.tensor(angle).rad2deg())))
    assert torch.allclose(turned, setting(sample(width=5), lights(), modes(Shading.LIT)), atol=1e-5)


def test_textures_follow_gltf():
    shader, shown = Pbr(PbrConfig()), sample()
    maps, of = shader.textures(shown), shader.surface(shown.features)
    occlusion, roughness, metallic = maps["metallic_roughness"].split(1, -1)
    assert (occlusion == 1).all() and torch.equal(roughness, of.roughness) and torch.equal(metallic, of.metallic)
    assert torch.equal(maps["normal"], shader.shading_normal(shown.normal, shown.features))
    assert set(shader.textures(FieldSample(shown.features))) == {"base_color", "metallic_roughness"}


def test_encoding_and_decoding_are_inverse_and_the_shoulder_stays_below_one():
    values = torch.linspace(0, 1, 1001)
    assert torch.allclose(encode_srgb(decode_srgb(values)), values, atol=1e-4)
    bright = torch.linspace(0, 50, 1001, requires_grad=True)
    shown = shoulder(bright)
    assert (shown <= 1).all() and (shown.diff() >= 0).all() and torch.equal(shown[bright < 0.8], bright[bright < 0.8])
    assert torch.autograd.grad(encode_srgb(shown).sum(), bright)[0].isfinite().all()


def test_mixed_precision_changes_no_colour():
    shader = Pbr(PbrConfig())
    plain = shader(sample(), lights(), modes(Shading.LIT))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(shader(sample(), lights(), modes(Shading.LIT)), plain)
