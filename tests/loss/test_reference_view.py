"""The view of a picture is kept as the picture shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from threefusion.camera.orbit import orbit_views
from threefusion.cli.main import main
from threefusion.config import Schedule, load_config
from threefusion.guidance.prior.reference import in_square, on_white, read_picture, relative_pose
from threefusion.loss.reference import Reference
from threefusion.loss.settings import ReferenceConfig
from threefusion.system.build import build_system
from threefusion.types import RenderOutput

POSE = {"elevation_deg": 20.0, "azimuth_deg": -50.0, "distance": 1.9}


def batch(count=2):
    return orbit_views(count, 0.2, 2.0, 0.8, 16, 16)


def save(path, image, opacity):
    """A picture of a render's view, on transparent ground."""
    color = torch.where(opacity > 0, image, 0)
    Image.fromarray((torch.cat([color, opacity], -1).clamp(0, 1) * 255).round().numpy().astype(np.uint8)).save(path)


@pytest.fixture
def picture(tmp_path):
    """The left half red, the right half empty; twice as wide as high."""
    rgba = torch.zeros(4, 8, 4)
    rgba[:, :4] = torch.tensor([1.0, 0, 0, 1])
    save(tmp_path / "half.png", rgba[..., :3], rgba[..., 3:])
    return tmp_path / "half.png"


def test_its_camera_stands_where_the_prior_is_told_that_the_picture_was_taken(picture):
    views = Reference(ReferenceConfig(image=str(picture), fovy_deg=30.0, **POSE)).own_views(batch())
    pose = relative_pose(views.camera.position, POSE["elevation_deg"], POSE["azimuth_deg"], POSE["distance"], polar=False)
    torch.testing.assert_close(pose, torch.tensor([[0.0, 0, 1, 0]]), atol=1e-6, rtol=0)
    assert (views.camera.height, views.camera.width, len(views)) == (16, 16, 1)
    torch.testing.assert_close(views.camera.fovy.rad2deg(), torch.tensor([30.0]))


def test_a_wide_picture_lies_in_the_middle_of_a_square(picture):
    square = in_square(read_picture(picture), 8)[0]
    assert square[..., 3].sum() == 16 and square[2:6, :4, 3].eq(1).all()
    white = on_white(read_picture(picture), 8)[0]
    assert white[0].eq(1).all() and white[3, 0].tolist() == [1, 0, 0] and white[3, 7].tolist() == [1, 1, 1]


def one_color(color, opacity):
    """A render of one colour and one opacity."""
    return RenderOutput(torch.full((1, 8, 8, 3), color), torch.full((1, 8, 8, 1), opacity), torch.ones(1, 8, 8, 1))


def test_the_term_is_the_error_inside_and_that_of_the_outline(picture):
    term = Reference(ReferenceConfig(image=str(picture), mask_weight=0.5))
    render = one_color(0.25, 0.5)
    color = (0.75**2 + 2 * 0.25**2) / 3 * 16 / 64
    outline = 0.5**2
    assert term(render, batch(1)).item() == pytest.approx(color + 0.5 * outline, rel=1e-5)


def test_a_scene_is_its_own_picture_from_there_and_not_from_elsewhere(tiny, tmp_path):
    small = ["background={type: solid, color: '#000000'}", "renderer.sampler=uniform", "geometry.bias=5"]
    system = build_system(load_config(tiny, small))
    with torch.no_grad():
        for parameter in system.scene.geometry.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    Image.new("RGBA", (1, 1), "red").save(tmp_path / "any.png")
    cfg = ReferenceConfig(image=str(tmp_path / "any.png"), **POSE)
    views = Reference(cfg).own_views(batch())
    with torch.no_grad():
        render = system.renderer(system.scene, views)
        # what is half transparent has the colour of the object, not of the ground
        save(tmp_path / "own.png", render.image[0] / render.opacity[0].clamp_min(1e-6), render.opacity[0])
        term = Reference(replace(cfg, image=str(tmp_path / "own.png")))
        turned = Reference(replace(term.cfg, azimuth_deg=130.0))
        own, other = (part(system.renderer(system.scene, part.own_views(batch())), views) for part in (term, turned))
    assert own < 1e-3 < 3e-3 < other


def test_training_with_it_brings_the_scene_closer_to_the_picture(tiny, tmp_path, picture):
    Image.new("RGBA", (8, 8), (0, 200, 0, 255)).save(tmp_path / "green.png")
    config = load_config(tiny, ["loss=null", "guidance.weight=0", f"+loss.reference.image={tmp_path / 'green.png'}"])
    config = replace(config, losses={"reference": replace(config.losses["reference"], weight=Schedule.constant(1.0))})
    system = build_system(config)
    optimizer, errors = system.configure_optimizers(), []
    for step in range(12):
        system.begin_step(step)
        loss, metrics = system.compute_loss(system.camera.sample(step, 3, torch.arange(4)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(metrics["reference"].item())
    assert errors[-1] < 0.9 * errors[0]


def test_a_picture_that_is_missing_is_one_line(tiny, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tiny), "+loss.reference.image=/no/such/car.png"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("/no/such/car.png: cannot be read as a picture")
