from dataclasses import replace
from math import pi

import pytest
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.config import load_config
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.run.folder import new_run_folder
from threefusion.run.training import train
from threefusion.system import text_to_3d
from threefusion.system.build import build_system
from threefusion.system.facing import faces_backwards
from threefusion.types import PromptEmbeddings

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


@pytest.mark.parametrize("factor", [1.0 - 1e-3, 1.0 + 1e-3])
def test_the_flip_is_decided_by_which_loss_is_smaller(factor):
    """Two readings whose losses differ by a thousandth: the threshold is at equality."""

    class Scored(GaussianPrior):
        def predict_noise(self, z, timesteps, tokens):
            noise = VIEWS.randn("facing", *self.shape)[: len(z)]
            # the error is 1 under the words of the prompt, and `factor` with front and back exchanged
            return noise + torch.where(tokens[:, :1, :1, None] == words_of_prompt[: len(z), :1, :1, None], 1.0, factor**0.5)

    words_of_prompt = words(VIEWS.camera).text
    prior = Scored(GaussianConfig(image_size=8))
    x = prior.encode(torch.full((8, 16, 16, 3), 0.5))
    front = VIEWS.camera.azimuth.cos().abs() > 1e-6  # of the sides both readings are one
    assert faces_backwards(prior, words, x[front], VIEWS.select(front.nonzero()[:, 0]), 8) is (factor < 1)


def test_a_run_looks_when_it_is_told_to_and_keeps_the_heading(tiny, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(text_to_3d, "faces_backwards", lambda *arguments: asked.append(arguments[3].step) or True)
    config = load_config(tiny, ["facing.steps=[1, 3, 4]", "facing.views=4", "trainer.max_steps=4", "exporter=null"])
    train(config, new_run_folder(config, tmp_path / "run"))
    assert asked == [1, 3]
    assert "turned round" in capsys.readouterr().err
    checkpoint = torch.load(max((tmp_path / "run" / "checkpoints").iterdir()), weights_only=True)
    assert checkpoint["state_dict"]["scene.heading"].item() == pytest.approx(0, abs=1e-6)


def test_a_run_that_is_flipped_once_faces_the_other_way(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(text_to_3d, "faces_backwards", lambda *arguments: True)
    config = load_config(tiny, ["facing.steps=[1]", "facing.views=4", "trainer.max_steps=2", "exporter=null"])
    train(config, new_run_folder(config, tmp_path / "run"))
    checkpoint = torch.load(max((tmp_path / "run" / "checkpoints").iterdir()), weights_only=True)
    assert checkpoint["state_dict"]["scene.heading"].item() == pytest.approx(pi)


def test_the_quickstart_looks(tmp_path):
    from pathlib import Path

    config = load_config(Path(__file__).parents[2] / "configs" / "quickstart.yaml", [])
    assert config.facing.steps == (200, 400)
    assert build_system(config).config.facing.views == 64
