"""Runs that start from another run or from a mesh file: what they print, where paths start, and sources that are gone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import trimesh

from threefusion.cli import main as program
from threefusion.run.folder import latest_checkpoint
from threefusion.run.results import load_scene
from threefusion.system import conversion
from threefusion.testing.samples import small_ball

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the tiny config; fits of few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("THREEFUSION_RUN", raising=False)
    monkeypatch.setattr(conversion, "SHAPE_STEPS", 20)
    monkeypatch.setattr(conversion, "COLOR_STEPS", 20)
    monkeypatch.setattr(conversion, "POINTS", 1 << 10)
    shutil.copy(tiny, tmp_path / "tiny.yaml")
    return tmp_path


SURFACE = "renderer={type: rasterizer}", "loss=null", "trainer.max_steps=2"
DISTANCE = "renderer={type: volsdf}", "loss=null", "trainer.max_steps=2"


def main(arguments: list[str]) -> int:
    """The command line's exit code."""
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    return int(ended.value.code or 0)


def run(name: str, *overrides: str, config: str = "tiny.yaml") -> int:
    """Train into the folder `name`."""
    return main(["train", "--config", config, "--out", name, *overrides])


def geometry(kind: str, **settings: str) -> str:
    given = "".join(f", {name}: {value}" for name, value in settings.items())
    coded = "" if kind == "voxel-grid" else ", encoding: {type: dense-grid, levels: 2}"
    return f"geometry={{type: {kind}, radius: 0.8{coded}{given}}}"


def ball(path: Path, scale: float = 1.0) -> Path:
    mesh = small_ball()
    trimesh.Trimesh((mesh.vertices * scale)[:, [1, 2, 0]].numpy(), mesh.faces.numpy(), process=False).export(path)
    return path


def test_a_field_becomes_a_surface_and_a_distance_a_fixed_mesh(capsys: pytest.CaptureFixture) -> None:
    assert run("field", "trainer.max_steps=2") == 0
    assert "starts" not in capsys.readouterr().err
    assert run("surface", geometry("tetrahedra", init_from="field", resolution="24"), *SURFACE) == 0
    line = f"from run {Path('field').absolute()}, checkpoints/step-000002: density-field -> tetrahedra converted, colours fitted"
    assert f"\nstarts {line}\n" in f"\n{capsys.readouterr().err}"
    assert json.loads(Path("surface/report.json").read_text())["start"] == line
    assert run("distance", geometry("sdf-field", init_from="field"), *DISTANCE) == 0
    assert run("mesh", geometry("fixed-mesh", init_from="distance"), *SURFACE) == 0
    assert "sdf-field -> fixed-mesh converted, features copied" in capsys.readouterr().err
    shutil.rmtree("distance")
    vertices = load_scene(Path("mesh"))[1].geometry.mesh().vertices
    assert main(["train", "--resume", "mesh", "trainer.max_steps=3"]) == 0
    assert "starts" not in capsys.readouterr().err
    assert torch.equal(load_scene(Path("mesh"))[1].geometry.mesh().vertices, vertices)
    assert "sdf-field" in json.loads(Path("mesh/report.json").read_text())["start"]


def test_a_resumed_fit_is_not_repeated_and_bit_identical(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = geometry("sdf-field", init_from=str(ball(Path("ball.glb")))), *DISTANCE, "trainer.max_steps=4"
    assert run("whole", *settings) == 0
    assert run("parts", *settings, "trainer.max_steps=2") == 0
    monkeypatch.setattr("threefusion.system.start.fit_field", None)  # cannot be called
    Path("ball.glb").unlink()
    assert main(["train", "--resume", "parts", "trainer.max_steps=4"]) == 0
    states = [torch.load(latest_checkpoint(Path(name)), weights_only=True) for name in ("whole", "parts")]
    assert all(torch.equal(value, states[1]["state_dict"][name]) for name, value in states[0]["state_dict"].items())
    assert states[0]["origin"] == states[1]["origin"] != ""


def test_paths_start_at_the_file_that_names_them(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (folder / "deep" / "meshes").mkdir(parents=True)
    ball(folder / "deep" / "meshes" / "ball.glb", scale=100.0)
    (folder / "deep" / "mine.yaml").write_text(
        "extends: ../tiny.yaml\ngeometry: {type: fixed-mesh, init_from: meshes/ball.glb, encoding: dense-grid}\n"
        "renderer: {type: rasterizer}\nloss: null\ntrainer: {max_steps: 1}\n"
    )
    assert run("one", config="deep/mine.yaml") == 0
    assert (
        f"starts from file {folder}/deep/meshes/ball.glb, centred and scaled by 0.015: mesh -> fixed-mesh"
        in capsys.readouterr().err
    )
    assert main(["check", "deep/mine.yaml", "geometry.init_from=meshes/ball.glb"]) == 2
    assert f"command line: geometry.init_from: {folder}/meshes/ball.glb does not exist" in capsys.readouterr().err
    monkeypatch.chdir(folder / "deep")
    assert main(["train", "--resume", "../one", "trainer.max_steps=2"]) == 0
    assert main(["check", "../one/config.yaml"]) == 0
    (folder / "deep" / "meshes" / "ball.glb").unlink()
    assert main(["check", "../one/config.yaml"]) == 2
    assert "geometry.init_from" in capsys.readouterr().err
    assert main(["train", "--resume", "../one", "trainer.max_steps=3"]) == 0


STAGES = """extends: tiny.yaml
loss: null
output: {checkpoint_interval: 1}
geometry: {init_from: ball.glb}
stages:
  - {name: field, steps: 2}
  - {name: distance, steps: 2, geometry: {type: sdf-field, encoding: {type: dense-grid, levels: 2}}, renderer: {type: neus}}
  - {name: surface, steps: 2, renderer: {type: rasterizer}, geometry: {type: tetrahedra, encoding: {type: dense-grid, levels: 2},
     resolution: 24}}
"""


def test_stages_and_a_run_of_several_of_them(folder: Path, capsys: pytest.CaptureFixture) -> None:
    ball(folder / "ball.glb")
    (folder / "stages.yaml").write_text(STAGES)
    assert main(["train", "--config", "stages.yaml", "--out", "all", "--until-stage", "distance"]) == 0
    told = capsys.readouterr().err
    assert f"field starts from file {folder}/ball.glb: mesh -> density-field fitted" in told
    assert "distance starts from stage field: density-field -> sdf-field fitted" in told
    # unfinished, its last stage not begun
    assert run("mesh", geometry("fixed-mesh", init_from="all"), *SURFACE) == 0
    assert f"run {folder}/all, stages/2-distance/checkpoints/step-000002: sdf-field -> fixed-mesh" in capsys.readouterr().err
    assert main(["train", "--resume", "all"]) == 0
    assert "surface starts from stage distance: sdf-field -> tetrahedra converted, features copied" in capsys.readouterr().err
    stages = json.loads((folder / "all" / "report.json").read_text())["stages"]
    assert [stage["start"].partition(":")[0] for stage in stages] == [
        f"from file {folder}/ball.glb",
        "from stage field",
        "from stage distance",
    ]
    (folder / "ball.glb").unlink()
    assert main(["train", "--resume", "all", "--from-stage", "field"]) == 2
    assert "geometry.init_from" in capsys.readouterr().err
    assert not (folder / "all" / "stages" / "kept-1").exists() and (folder / "all" / "report.json").exists()
    assert main(["train", "--resume", "all", "--from-stage", "surface"]) == 0
    assert "surface starts from stage distance" in capsys.readouterr().err


def test_sources_that_are_none(folder: Path, capsys: pytest.CaptureFixture) -> None:
    for settings, problem in (
        ([geometry("fixed-mesh"), *SURFACE], "geometry: 'fixed-mesh' has to start from something and is the first"),
        ([geometry("fixed-mesh", init_from="none.glb"), *SURFACE], "none.glb does not exist"),
    ):
        assert run("out", *settings) == 2
        told = capsys.readouterr().err
        assert problem in told and told.count("\n") == 1 and not Path("out").exists()
    assert run("empty", "trainer.max_steps=1") == 0
    shutil.rmtree("empty/checkpoints")
    capsys.readouterr()
    assert run("out", geometry("fixed-mesh", init_from="empty"), *SURFACE) == 2
    told = capsys.readouterr().err
    assert "geometry.init_from: " in told and "has saved no checkpoint yet" in told and not Path("out").exists()


def test_a_run_that_was_made_with_plugins(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "there" / "plugins").mkdir(parents=True)
    text = (Path(__file__).parents[2] / "docs" / "geometry.md").read_text()
    plugin = text[text.index("# plugins/soft_ball.py") :].partition("```")[0]
    (folder / "there" / "plugins" / "soft_ball.py").write_text(plugin)
    (folder / "there" / "mine.yaml").write_text("extends: ../tiny.yaml\ngeometry: {type: soft-ball, size: 0.4}\nloss: null\n")
    assert run("ball", "trainer.max_steps=1", config="there/mine.yaml") == 0
    assert run("mesh", geometry("fixed-mesh", init_from="ball"), *SURFACE) == 0
    assert "soft-ball -> fixed-mesh converted, colours fitted" in capsys.readouterr().err
