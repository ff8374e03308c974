"""Pictures: what they start from, and that each receives its own gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from threefusion.background.settings import SolidConfig
from threefusion.camera.settings import OrbitalConfig
from threefusion.errors import UserError
from threefusion.geometry.canvas import Canvas
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import CanvasConfig
from threefusion.guidance.settings import SDSConfig
from threefusion.registry import build
from threefusion.renderer.settings import ImageConfig
from threefusion.testing import sample_guidance, sample_prompt
from threefusion.testing.samples import image_render
from threefusion.types import Scene, Want


def canvas(**fields: object) -> Canvas:
    return Canvas(CanvasConfig(**{"height": 4, "width": 6} | fields), BuildContext(3))


def test_a_canvas_starts_grey_and_can_become_any_picture() -> None:
    pictures = canvas()
    assert torch.equal(pictures.canvas(), torch.full((1, 4, 6, 3), 0.5))
    target = torch.rand(1, 4, 6, 3) * 0.8 + 0.1
    pictures.load_state_dict({"pixels": target.logit()})
    assert torch.allclose(pictures.canvas(), target)
    pictures.canvas().sum().backward()
    assert torch.allclose(pictures.pixels.grad, target * (1 - target))


def test_colors_of_a_linear_canvas_are_its_parameters() -> None:
    pictures = canvas(parametrization="linear", particles=2)
    assert torch.equal(pictures.canvas(), torch.full((2, 4, 6, 3), 0.5))
    pictures.canvas().sum().backward()
    assert (pictures.pixels.grad == 1).all()


def test_particles_start_from_different_noise() -> None:
    first, second = canvas(particles=2, height=64, width=64, contrast=0.5).pixels.detach()
    assert not torch.equal(first, second)
    assert float(first.std()) == pytest.approx(0.5, rel=0.05) and abs(float(first.mean())) < 0.05


@pytest.mark.parametrize("parametrization", ["logits", "linear"])
def test_a_canvas_starts_from_a_file_of_any_size(tmp_path: Path, parametrization: str) -> None:
    Image.new("RGBA", (9, 17), (255, 128, 0, 255)).save(tmp_path / "a.png")
    pictures = canvas(file=str(tmp_path / "a.png"), parametrization=parametrization, particles=2).canvas()
    assert torch.allclose(pictures, torch.tensor([1.0, 128 / 255, 0.0]).expand(2, 4, 6, 3), atol=2e-3)


@pytest.mark.parametrize("name", ["missing.png", "text.png"])
def test_what_is_no_picture_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=rf"geometry\.file: .*{name} is no picture that can be read"):
        canvas(file=str(tmp_path / name))


@pytest.mark.parametrize("batch_size", [3, 2])
def test_each_particle_is_trained_as_in_a_plain_loop(batch_size: int) -> None:
    scene = Scene(canvas(particles=3, height=8, width=8, contrast=1.0), None, build(SolidConfig()))
    renderer, camera = build(ImageConfig()), build(OrbitalConfig(batch_size=batch_size))
    guidance, prompt = sample_guidance(SDSConfig()), sample_prompt(batch_size)
    own = [picture.clone().requires_grad_() for picture in scene.geometry.pixels.detach()]
    optimizer, twins = (torch.optim.SGD(values, lr=0.5) for values in ([scene.geometry.pixels], own))
    seen = set()
    for step in range(4):
        views = camera.sample(step, 5, torch.arange(batch_size))
        render = renderer(scene, views, Want(random=True))
        # the slow twin looks each view's picture up by its colours, and evaluates the objective on plain tensors
        shown = [
            next(index for index, picture in enumerate(own) if torch.allclose(picture.sigmoid(), image)) for image in render.image
        ]
        seen.add(tuple(shown))
        assert len(set(shown)) == batch_size
        for loss, rule in (
            (guidance(render, prompt, views).loss, optimizer),
            (guidance(image_render(torch.stack([own[index].sigmoid() for index in shown])), prompt, views).loss, twins),
        ):
            rule.zero_grad()
            loss.backward()
            rule.step()
        assert torch.allclose(scene.geometry.pixels, torch.stack(own), atol=1e-6)
    assert len(seen) > 1  # another order in each step


def test_without_random_numbers_views_show_the_pictures_in_turn() -> None:
    scene = Scene(canvas(particles=3, contrast=1.0), None, build(SolidConfig()))
    views = build(OrbitalConfig()).sample(7, 5, torch.arange(5))
    images = build(ImageConfig())(scene, views).image
    assert torch.equal(images, scene.geometry.canvas()[[0, 1, 2, 0, 1]])
