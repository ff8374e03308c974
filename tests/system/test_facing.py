from dataclasses import replace
from math import pi

import pytest
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.geometry.canvas import Canvas
from threefusion.geometry.settings import CanvasConfig
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.run.folder import new_run_folder
from threefusion.run.training import train
from threefusion.system import text_to_3d
from threefusion.system.build import build_system
from threefusion.system.facing import faces_backwards
from threefusion.system.scene import build_scene
from threefusion.types import PromptEmbeddings, view_generator

VIEWS = orbit_views(8, 0.2, 2.0, 0.8, 16, 16)
PRIOR = GaussianPrior(GaussianConfig(image_size=8))


def words(camera):
    """A prompt that says how grey each view is: bright from the front, dark from behind."""
    grey = 0.5 + 0.3 * camera.azimuth.cos()
    tokens = torch.stack([grey, grey, grey, torch.full_like(grey, 0.1)], -1)[:, None]
    return PromptEmbeddings(tokens, tokens)


@pytest.mark.parametrize(("turned", "expected"), [(0.0, False), (pi, True)])
def test_the_prior_tells_the_front_from_the_back(turned, expected):
    grey = 0.5 + 0.3 * (VIEWS.camera.azimuth + turned).cos()
    images = grey[:, None, None, None].expand(-1, 16, 16, 3)
    assert faces_backwards(PRIOR, words, PRIOR.encode(images), VIEWS, 8) is expected


def test_what_looks_alike_from_both_sides_is_left_alone():
    images = torch.full((8, 16, 16, 3), 0.5)
    symmetric = replace(VIEWS, camera=replace(VIEWS.camera, azimuth=torch.tensor([pi / 2, -pi / 2] * 4)))
    assert faces_backwards(PRIOR, words, PRIOR.encode(images), symmetric, 8) is False


def test_only_views_whose_words_change_are_asked_about():
    asked = []

    class Listening(GaussianPrior):
        def predict_noise(self, z, timesteps, tokens):
            asked.append(len(z))
            return super().predict_noise(z, timesteps, tokens)

    def of_front_and_back(camera):
        grey = torch.where(camera.azimuth.cos().abs() < 0.5, 0.5, 0.5 + 0.3 * camera.azimuth.cos().sign())
        tokens = torch.stack([grey, grey, grey, torch.full_like(grey, 0.1)], -1)[:, None]
        return PromptEmbeddings(tokens, tokens)

    prior = Listening(GaussianConfig(image_size=8))
    # by these words six of the eight views show the front or the back; what the two sides look like does not matter
    grey = torch.where(VIEWS.camera.azimuth.cos().abs() < 0.5, 0.1, 0.5 + 0.3 * VIEWS.camera.azimuth.cos().sign())
    images = grey[:, None, None, None].expand(-1, 16, 16, 3)
    assert faces_backwards(prior, of_front_and_back, prior.encode(images), VIEWS, 4) is False
    assert asked == [4, 2] * 10


@pytest.mark.parametrize("normal", ["analytic", "finite-difference"])
def test_a_scene_turned_round_is_the_same_scene_seen_from_behind(tiny, normal):
    scene = build_scene(load_config(tiny, [f"geometry.normal={normal}", "geometry.network_dtype=float32"]))
    field, sampler = scene.geometry, scene.renderer.sampler
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    half_turn = torch.tensor([-1.0, -1, 1])
    before = field(points, normals=True)
    sampler.on_step(0, view_generator(0, 0, 0, "on_step"))
    remembered = sampler.remembered.view((sampler.cfg.resolution,) * 3).clone()
    scene.renderer.turn_round()
    after = field(points * half_turn, normals=True)
    for name, sign in (("density", 1), ("features", 1), ("normal", half_turn)):
        assert torch.allclose(getattr(after, name), getattr(before, name) * sign, atol=1e-4), name
    assert not torch.allclose(field.density(points), before.density, atol=1e-3)
    assert torch.equal(sampler.remembered.view(remembered.shape), remembered.flip(0, 1))
    scene.renderer.turn_round()
    assert torch.allclose(field.density(points), before.density)


def test_a_run_looks_when_it_is_told_to_and_keeps_the_heading(tiny, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(text_to_3d, "faces_backwards", lambda *arguments: asked.append(arguments[3].step) or True)
    config = load_config(tiny, ["facing.steps=[1, 3, 4]", "facing.views=4", "trainer.max_steps=4", "exporter=null"])
    train(config, new_run_folder(config, tmp_path / "run"))
    assert asked == [1, 3]
    assert "turned round" in capsys.readouterr().err
    checkpoint = torch.load(max((tmp_path / "run" / "checkpoints").iterdir()), weights_only=True)
    assert checkpoint["state_dict"]["renderer.geometry.heading"].tolist() == [1, 1, 1]


def test_a_picture_cannot_be_turned():
    with pytest.raises(UserError, match="'image' cannot be turned round"):
        Canvas(CanvasConfig(), 3).turn_round()


def test_the_quickstart_looks(tmp_path):
    from pathlib import Path

    config = load_config(Path(__file__).parents[2] / "configs" / "quickstart.yaml", [])
    assert config.facing.steps == (200, 400)
    assert build_system(config).config.facing.views == 64
