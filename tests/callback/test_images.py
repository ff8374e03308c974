"""Pictures and videos show what was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threefusion.callback.images import read_png, sheet, write_png
from threefusion.camera.orbit import evaluation_orbit
from threefusion.cli.main import run
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.registry import build
from threefusion.renderer.views import render_views
from threefusion.system.scene import build_scene


def test_a_png_holds_the_image(tmp_path: Path) -> None:
    from PIL import Image

    image = torch.rand(6, 4, 3)
    write_png(tmp_path / "a.png", image)
    assert np.abs(np.asarray(Image.open(tmp_path / "a.png")) / 255 - image.numpy()).max() <= 0.5 / 255 + 1e-6
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("overrides", "shape"),
    [(["geometry=image", "geometry.particles=3", "renderer=image", "loss=null"], (64, 192, 3)), ([], (32, 64, 3))],
)
def test_a_preview_shows_four_sides_and_their_normals_but_each_picture_once(tiny: Path, tmp_path: Path, overrides, shape) -> None:
    config = load_config(tiny, overrides)
    drawn = sheet(*reversed(build_scene(config)), build(config.camera), 16)
    assert drawn.shape == shape and not drawn.requires_grad


def test_a_preview_shows_what_a_renderer_without_normals_has(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    config = load_config(tiny, [])
    scene, renderer = build_scene(config)
    camera = build(config.camera)
    both = sheet(renderer, scene, camera, 16)
    render = renderer.render
    monkeypatch.setattr(renderer, "render", lambda *arguments: replace(render(*arguments), normal=None))
    assert torch.equal(sheet(renderer, scene, camera, 16), both[:16])
    with pytest.raises(UserError, match="no normals"):
        next(render_views(renderer, scene, evaluation_orbit(camera, 1, 16), "normal"))


def test_pictures_over_time_end_up_in_one_sheet_also_after_a_resume(tiny: Path, tmp_path: Path) -> None:
    pictures = ["geometry=image", "geometry.particles=3", "geometry.height=6", "geometry.width=5", "geometry.contrast=1"]
    pictures += ["renderer=image", "loss=null", "camera.batch_size=3", "output.image_interval=2"]
    assert run(["train", "--config", str(tiny), "--out", str(tmp_path / "run"), *pictures, "trainer.max_steps=3"]) == 0
    folder = tmp_path / "run" / "images"
    assert {path.name for path in folder.iterdir()} == {"000002.png", "000003.png", "over-time.png"}
    assert run(["train", "--resume", str(tmp_path / "run"), "trainer.max_steps=4"]) == 0
    rows = [read_png(folder / f"{step:06d}.png") for step in (2, 3, 4)]
    assert all(row.shape == (6, 15, 3) for row in rows) and not torch.equal(rows[0], rows[2])
    assert torch.equal(read_png(folder / "over-time.png"), torch.cat(rows))
