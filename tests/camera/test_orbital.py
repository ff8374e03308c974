from math import pi, radians

import pytest
import torch

from threefusion.camera.orbital import OrbitalCameras
from threefusion.camera.settings import DreamFusionCamerasConfig, OrbitalConfig, ThreestudioCamerasConfig
from threefusion.registry import build
from threefusion.types import Shading


def sample(step=0, seed=0, index=None, **settings):
    sampler = OrbitalCameras(OrbitalConfig(**settings))
    return sampler.sample(step, seed, torch.arange(sampler.batch_size) if index is None else index)


def tensors(batch):
    return [batch.camera.c2w, batch.camera.fovy, batch.light.position, batch.light.ambient, batch.shading]


def test_a_view_is_a_function_of_seed_step_and_index():
    settings = {"batch_size": 6, "albedo_steps": 0, "up_perturb": 0.1, "camera_perturb": 0.1, "ambient_range": (0.0, 1.0)}
    whole = sample(7, **settings)
    part = sample(7, index=torch.tensor([4, 2]), **settings)
    for a, b in zip(tensors(whole), tensors(part), strict=True):
        assert torch.equal(a[[4, 2]], b)
    for other in (sample(8, **settings), sample(7, seed=1, **settings)):
        assert not torch.allclose(whole.camera.c2w, other.camera.c2w)


def test_each_view_has_a_stratum_of_the_azimuth_to_itself():
    for step in range(5):
        azimuth = sample(step, batch_size=8).camera.azimuth
        turns = torch.remainder(azimuth - azimuth[0], 2 * pi) * 8 / (2 * pi)
        assert ((turns - torch.arange(8)).abs()[1:] < 1).all()
        assert ((azimuth > -pi) & (azimuth <= pi)).all()


def test_views_beyond_the_batch_size_start_a_new_round():
    azimuth = sample(0, index=torch.arange(8), batch_size=4).camera.azimuth
    gap = torch.remainder(azimuth[4:] - azimuth[:4] + pi, 2 * pi) - pi
    assert (gap.abs() < pi / 2).all() and not torch.allclose(gap, torch.zeros(4))


def many(**settings):
    return sample(0, index=torch.arange(4000), **settings)


def test_ranges_are_kept_and_filled():
    camera = many(steep_fraction=0.0, azimuth_range_deg=(-30.0, 90.0)).camera
    for values, low, high in (
        (camera.elevation, radians(-10), radians(45)),
        (camera.azimuth, radians(-30), radians(90)),
        (camera.fovy, radians(38), radians(52)),
        (camera.distance, 1.7, 2.2),
    ):
        width = high - low
        assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6
        assert abs(values.mean() - (low + high) / 2) < 0.03 * width
        assert values.max() - values.min() > 0.99 * width


def test_elevation_on_the_sphere_is_uniform_in_height():
    height = many(sphere_fraction=1.0, steep_fraction=0.0, elevation_range_deg=(-90.0, 90.0)).camera.elevation.sin()
    assert torch.allclose(height.sort().values, torch.linspace(-1, 1, 4000), atol=0.05)


def test_steep_views_are_the_share_asked_for():
    elevation = many(steep_fraction=0.25).camera.elevation
    assert abs((elevation > radians(45)).float().mean() - 0.25) < 0.03


def test_focal_length_in_image_widths_gives_the_papers_field_of_view():
    fovy = many(focal_range=(0.7, 1.35), center_perturb=0.0).camera.fovy.rad2deg()
    assert abs(fovy.min() - 40.6) < 0.1 and abs(fovy.max() - 71.1) < 0.1


def test_cameras_look_at_the_middle_when_nothing_is_perturbed():
    camera = sample(center_perturb=0.0).camera
    assert torch.allclose(camera.position - camera.distance[:, None] * camera.c2w[:, :3, 2], torch.zeros(4, 3), atol=1e-5)


def test_perturbations_have_their_standard_deviation():
    level = {"elevation_range_deg": (0.0, 0.0), "steep_fraction": 0.0, "camera_perturb": 0.0}
    camera = many(up_perturb=0.1, center_perturb=0.0, **level).camera
    roll = torch.atan2(camera.c2w[:, 2, 0], camera.c2w[:, 2, 1])
    assert abs(roll.std() / 0.1 - 1) < 0.05
    camera = many(up_perturb=0.0, center_perturb=0.1, **level).camera
    aside = (camera.position * camera.c2w[:, :3, 0]).sum(-1) / (camera.position * camera.c2w[:, :3, 2]).sum(-1) * camera.distance
    assert abs(aside.std() / 0.1 - 1) < 0.05


def test_shading_follows_the_recipe():
    assert (sample(999).shading == Shading.ALBEDO).all()
    shading = many(albedo_steps=0).shading
    share = torch.bincount(shading, minlength=3) / len(shading)
    assert torch.allclose(share, torch.tensor([0.25, 0.375, 0.375]), atol=0.03)


def test_the_probabilities_are_those_of_their_names():
    shading = many(albedo_steps=0, lit_probability=0.9, textureless_probability=0.2).shading
    share = torch.bincount(shading, minlength=3) / len(shading)
    expected = {Shading.ALBEDO: 0.1, Shading.LIT: 0.72, Shading.TEXTURELESS: 0.18}
    assert all(abs(share[int(mode)] - probability) < 0.03 for mode, probability in expected.items())


def test_light_of_an_albedo_view_is_ambient_and_otherwise_sums_to_one():
    batch = many(albedo_steps=0, ambient_range=(0.2, 0.6))
    assert torch.allclose(batch.light.ambient + batch.light.color, torch.ones(4000, 3))
    albedo = batch.shading == Shading.ALBEDO
    assert (batch.light.ambient[albedo] == 1).all()
    assert batch.light.ambient[~albedo].min() >= 0.2 and batch.light.ambient[~albedo].max() <= 0.6


def test_cone_lights_stay_in_the_cone_at_their_distance():
    batch = many(light="cone", light_cone_deg=30.0)
    position, camera = batch.light.position, batch.camera.position
    angle = torch.nn.functional.cosine_similarity(position, camera).clamp(-1, 1).acos()
    assert angle.max() <= radians(30) + 1e-3 and abs(angle.mean() - radians(15)) < 0.02
    assert position.norm(dim=-1).min() >= 0.8 - 1e-5 and position.norm(dim=-1).max() <= 1.5 + 1e-5


def test_camera_direction_lights_stand_at_their_distance():
    length = many(light="camera-direction").light.position.norm(dim=-1)
    assert length.min() >= 0.8 - 1e-5 and length.max() <= 1.5 + 1e-5


def test_near_camera_lights_scatter_round_the_camera():
    batch = many(light="near-camera", light_perturb=0.3)
    offset = batch.light.position - batch.camera.position
    assert torch.allclose(offset.std(dim=0), torch.full((3,), 0.3), atol=0.02)


def test_presets_differ_from_the_general_sampler_in_defaults_only():
    for config in (DreamFusionCamerasConfig(), ThreestudioCamerasConfig()):
        preset, general = build(config), OrbitalCameras(OrbitalConfig(**vars(config)))
        assert preset.cfg is config
        index = torch.arange(3)
        for a, b in zip(tensors(preset.sample(3000, 1, index)), tensors(general.sample(3000, 1, index)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("batch_size", 0, r"in \[1, 4096\]"),
        ("distance_range", (2.0, 1.0), "increasing"),
        ("elevation_range_deg", (-100.0, 0.0), r"increasing order in \[-90, 90\]"),
        ("lit_probability", 1.5, r"in \[0, 1\]"),
        ("light_perturb", -1.0, r"in \[0, 100\]"),
        ("light_cone_deg", 91.0, r"in \[0, 90\]"),
    ],
)
def test_values_out_of_range_are_refused(field, value, words):
    with pytest.raises(ValueError, match=f"^{field}: .*{words}"):
        OrbitalConfig(**{field: value})


def test_level_and_steep_views_both_fill_their_ranges():
    camera = many(steep_fraction=0.5, sphere_fraction=0.5, elevation_range_deg=(-10.0, 0.0), steep_range_deg=(60.0, 90.0)).camera
    steep = camera.elevation > radians(30)
    for chosen, low, high in ((~steep, -10.0, 0.0), (steep, 60.0, 90.0)):
        share = (camera.elevation[chosen].rad2deg() - low) / (high - low)
        assert share.min() < 0.05 and share.max() > 0.95 and 0.45 < share.mean() < 0.55
