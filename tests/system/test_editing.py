"""A run that compares with the scene that it started from: what it renders, and what it needs to go on."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_resume import final_parameters, train

from threefusion.cli.main import main
from threefusion.config import load_config
from threefusion.exporter.writers import write_mesh
from threefusion.registry import build
from threefusion.run.source import starting_scene
from threefusion.system.build import build_system
from threefusion.testing.samples import small_ball
from threefusion.types import Want

EDIT = ["guidance.type=dds", "guidance.source_prompt=a blue ball"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A finished run."""
    run = tmp_path_factory.mktemp("edited") / "source"
    train("--config", str(tiny), "--out", str(run))
    return run


@pytest.fixture(scope="module")
def tiny() -> Path:
    """As everywhere."""
    return Path(__file__).parents[1] / "tiny.yaml"


def words(tiny: Path, source: Path, out: Path) -> tuple[str, ...]:
    return ("--config", str(tiny), *EDIT, f"geometry.init_from={source}", "trainer.log_every_n_steps=3", "--out", str(out))


def system_of(tiny: Path, source: Path, *overrides: str):
    config = load_config(tiny, [*EDIT, f"geometry.init_from={source}", *overrides])
    return build_system(config, starting_scene(config))


def test_at_its_start_a_scene_looks_as_its_source_whatever_is_drawn(tiny: Path, source: Path) -> None:
    system = system_of(tiny, source, "background.random_probability=1")
    batch = system.camera.sample(3, 0, torch.arange(4))
    # samples are placed by grids of occupancy of their own: many, so that it does not matter
    system.renderer.sampler = system.before.renderer.sampler = build(replace(system.config.renderer.sampler, samples_per_ray=256))
    render = system.renderer(system.scene, batch, Want(random=True))
    pair = system.before.beside(render, batch, Want(random=True)).source
    torch.testing.assert_close(pair.image, render.image.detach(), atol=1e-5, rtol=0)
    assert pair.image[0, 0, 0].sub(pair.image[1, 0, 0]).abs().max() > 0.1
    assert not pair.image.requires_grad


def test_the_source_stays_when_the_scene_is_trained_and_turns_with_it(tiny: Path, source: Path) -> None:
    system = system_of(tiny, source)
    batch = system.camera.sample(3, 0, torch.arange(2))
    render = system.renderer(system.scene, batch)
    before = system.before.beside(render, batch, Want()).source.image
    with torch.no_grad():
        for parameter in system.scene.geometry.parameters():
            parameter.mul_(0.5)
    assert torch.equal(system.before.beside(render, batch, Want()).source.image, before)
    system.scene.heading.fill_(1.0)
    turned = system.before.beside(render, batch, Want()).source.image
    assert not torch.equal(turned, before)


def test_it_is_no_part_of_the_system(tiny: Path, source: Path) -> None:
    plain = build_system(load_config(tiny, []))
    assert plain.before is None
    system = system_of(tiny, source)
    assert system.state_dict().keys() == plain.state_dict().keys()
    assert [name for name, _ in system.named_parameters()] == [name for name, _ in plain.named_parameters()]


@pytest.mark.slow
def test_a_killed_edit_ends_as_if_it_had_not_been_killed(tiny: Path, source: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(*words(tiny, source, whole))
    train(*words(tiny, source, killed), die=7)
    train("--resume", str(killed))
    expected, found = final_parameters(whole), final_parameters(killed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert (whole / "metrics.csv").read_bytes() == (killed / "metrics.csv").read_bytes()
    assert not all(torch.equal(value, final_parameters(source)[name]) for name, value in expected.items())


@pytest.mark.slow
def test_a_source_that_is_gone_is_named_when_an_edit_is_resumed(
    tiny: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(source, tmp_path / "copy")
    train(*words(tiny, copy, tmp_path / "edit"), die=7)
    shutil.rmtree(copy)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(tmp_path / "edit")])
    assert ended.value.code in (1, 2) or "geometry.init_from" in str(ended.value.code)
    assert f"geometry.init_from: {copy} does not exist" in capsys.readouterr().err + str(ended.value.code)


def test_a_mesh_file_is_rasterized(tiny: Path, tmp_path: Path) -> None:
    ball = small_ball(16)
    colored = replace(
        ball, normals=torch.nn.functional.normalize(ball.vertices, dim=-1), colors=torch.full_like(ball.vertices, 0.3)
    )
    (file,) = write_mesh(colored, tmp_path, ["ply"])
    system = system_of(tiny, file)
    batch = system.camera.sample(0, 0, torch.arange(2))
    pair = system.before.beside(system.renderer(system.scene, batch), batch, Want(random=True)).source
    assert 0.05 < pair.opacity.mean() < 0.9
    assert pair.image.isfinite().all()


@pytest.mark.slow
def test_an_edit_after_a_stage_compares_with_that_stage(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(
        f"extends: {tiny}\nstages:\n  - {{name: made, steps: 3}}\n"
        "  - {name: edited, steps: 3, guidance: {type: dds, source_prompt: a blue ball}}\n",
        encoding="utf-8",
    )
    train("--config", str(tmp_path / "two.yaml"), "--out", str(tmp_path / "run"))
    (rows,) = [list(csv.DictReader(file.open())) for file in (tmp_path / "run").rglob("*edited*/metrics.csv")]
    assert float(rows[-1]["grad_norm"]) > 0
