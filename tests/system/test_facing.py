from dataclasses import replace
from math import pi

import pytest
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.config import load_config
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import SDSConfig
from threefusion.run.folder import new_run_folder
from threefusion.run.training import train
from threefusion.system import text_to_3d
from threefusion.system.build import build_system
from threefusion.system.facing import faces_backwards
from threefusion.types import ViewTexts

VIEWS = orbit_views(8, 0.2, 2.0, 0.8, 16, 16)
BLACK, WHITE = (0.0, 0.0, 0.0, 0.1), (1.0, 1.0, 1.0, 0.1)


def guidance_with(prior=None):
    """An objective with the texts "white" and "black", whose mixtures are greys."""
    guidance = ScoreDistillation(SDSConfig(), prior or GaussianPrior(GaussianConfig(image_size=8)))
    guidance.embeddings = TextEmbeddings(["white", "black", ""], Conditioning(torch.tensor([[WHITE], [BLACK], [BLACK]])))
    return guidance


def greys(grey):
    return ViewTexts(("white", "black"), torch.stack([grey, 1 - grey], 1))


def prompt(camera):
    """Bright from the front, dark from behind."""
    return greys(0.5 + 0.3 * camera.azimuth.cos())


def backwards(images, views=VIEWS, prompt=prompt, batch_size=8, guidance=None):
    guidance = guidance or guidance_with()
    return faces_backwards(guidance, prompt, guidance.prior.encode(images), views, batch_size)


@pytest.mark.parametrize(("turned", "expected"), [(0.0, False), (pi, True)])
def test_the_prior_tells_the_front_from_the_back(turned, expected):
    grey = 0.5 + 0.3 * (VIEWS.camera.azimuth + turned).cos()
    assert backwards(grey[:, None, None, None].expand(-1, 16, 16, 3)) is expected


@pytest.mark.parametrize("tilt", [-0.02, 0.02])
def test_the_better_reading_decides_however_little_better_it_is(tilt):
    grey = 0.5 + tilt * VIEWS.camera.azimuth.cos()
    assert backwards(grey[:, None, None, None].expand(-1, 16, 16, 3)) is (tilt < 0)


def test_what_looks_alike_from_both_sides_is_left_alone():
    symmetric = replace(VIEWS, camera=replace(VIEWS.camera, azimuth=torch.tensor([pi / 2, -pi / 2] * 4)))
    guidance = guidance_with()
    assert backwards(torch.full((8, 16, 16, 3), 0.5), symmetric, guidance=guidance) is False
    assert guidance.prior.evaluations.calls == 0


def test_only_views_whose_text_changes_are_evaluated():
    def of_front_and_back(camera):
        return greys(torch.where(camera.azimuth.cos().abs() < 0.5, 0.5, 0.5 + 0.3 * camera.azimuth.cos().sign()))

    # by these texts six of the eight views show the front or the back; what the two sides look like does not matter
    grey = torch.where(VIEWS.camera.azimuth.cos().abs() < 0.5, 0.1, 0.5 + 0.3 * VIEWS.camera.azimuth.cos().sign())
    guidance = guidance_with()
    assert backwards(grey[:, None, None, None].expand(-1, 16, 16, 3), VIEWS, of_front_and_back, 4, guidance) is False
    count = guidance.prior.evaluations
    assert (count.calls, count.images) == (20, 60)


@pytest.mark.parametrize("factor", [1.0 - 1e-3, 1.0 + 1e-3])
def test_the_flip_is_decided_by_which_loss_is_smaller(factor):
    """Two readings whose losses differ by a thousandth: the threshold is at equality."""

    class Scored(GaussianPrior):
        def _predict(self, z, t, condition):
            views = VIEWS.select(front)
            expected = guidance.embed(prompt(views.camera), views).text.tokens[..., :1, None]
            # the error is 1 under the prompt's own texts, and `factor` with front and back exchanged
            own = condition.tokens[:, :1, :1, None] == expected
            return views.randn("facing", *self.shape) + torch.where(own, 1.0, factor**0.5)

    front = (VIEWS.camera.azimuth.cos().abs() > 1e-6).nonzero()[:, 0]  # of the sides both readings are one
    guidance = guidance_with(Scored(GaussianConfig(image_size=8)))
    images = torch.full((len(front), 16, 16, 3), 0.5)
    assert backwards(images, VIEWS.select(front), guidance=guidance) is (factor < 1)


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
