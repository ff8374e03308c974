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
from threefusion.system import facing, text_to_3d
from threefusion.system.build import build_system
from threefusion.system.facing import faces_backwards, log_ratios
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
    return faces_backwards(guidance, prompt, lambda part: guidance.prior.encode(images[part.index]), views, batch_size)


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
    # two times; in calls of four views under both texts, the second of which has two views twice
    assert (count.calls, count.images) == (4, 32)


def test_only_views_whose_text_changes_are_rendered():
    rendered = []
    guidance = guidance_with()

    def encode(part):
        rendered.extend(part.index.tolist())
        return guidance.prior.encode(torch.full((len(part), 16, 16, 3), 0.5))

    faces_backwards(guidance, prompt, encode, VIEWS, 3)
    assert rendered == [0, 1, 3, 4, 5, 7]  # of the sides, 2 and 6, both readings are one


def ratios_of(factors):
    """An objective whose prior errs `factors` times as much under the exchanged texts, view by view, as under the views' own."""

    class Scored(GaussianPrior):
        def _predict(self, z, t, condition):
            error = torch.cat([torch.ones(len(factors)), factors]).sqrt()[:, None, None, None]
            return FRONT_AND_BACK.randn("facing", *self.shape).repeat(2, 1, 1, 1) + error

    return guidance_with(Scored(GaussianConfig(image_size=8)))


FRONT_AND_BACK = VIEWS.select((VIEWS.camera.azimuth.cos().abs() > 1e-6).nonzero()[:, 0])


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ([1 - 1e-3] * 6, True),  # however little, if all views agree
        ([1 + 1e-3] * 6, False),
        ([0.9, 0.9, 0.9, 0.9, 0.9, 0.95], True),
        ([0.9, 0.9, 0.9, 1.05, 1.05, 1.05], False),  # smaller in the mean, by one standard error
        ([1.1, 1.1, 1.1, 1.1, 1.1, 1.05], False),
    ],
)
def test_a_scene_is_turned_if_the_exchanged_texts_are_better_beyond_chance(factors, expected):
    images = torch.full((8, 16, 16, 3), 0.5)
    assert backwards(images, FRONT_AND_BACK, batch_size=6, guidance=ratios_of(torch.tensor(factors))) is expected


@pytest.mark.parametrize("batch_size", [1, 4, 5, 8])
def test_the_size_of_a_batch_does_not_decide(batch_size, monkeypatch):
    seen = []
    monkeypatch.setattr(facing, "log_ratios", lambda *arguments: seen.append(log_ratios(*arguments)) or seen[-1])
    images = (0.5 + 0.3 * VIEWS.camera.azimuth.cos())[:, None, None, None].expand(-1, 16, 16, 3)
    for size in (6, batch_size):
        backwards(images, batch_size=size)
    assert torch.allclose(torch.cat(seen[1:])[:6], seen[0], atol=1e-5)


@pytest.mark.usefixtures("terminal")
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
