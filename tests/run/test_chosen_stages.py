"""Runs that stop after a stage, and runs whose later stages are trained again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from states import is_same

from threefusion.cli.main import run as command
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run import stages
from threefusion.run.folder import latest_checkpoint, open_run
from threefusion.run.launcher import opened

pytestmark = pytest.mark.slow

TEXT = """extends: tiny.yaml
loss: {orientation: null}
exporter: {type: mesh, resolution: 24, texture_size: 64}
stages:
  - {name: coarse, steps: 3, camera: {height: 8, width: 8}}
  - {name: middle, steps: 2, geometry: {type: voxels}}
  - {name: fine, steps: 2, geometry: {type: voxels}}
"""
FOLDERS = ("1-coarse", "2-middle", "3-fine")


@pytest.fixture
def three_stages(staged_folder: Path) -> str:
    """A config whose second stage has another geometry."""
    Path("stages.yaml").write_text(TEXT)
    return "stages.yaml"


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_stops_after_a_stage_and_goes_on(three_stages: str, capsys: pytest.CaptureFixture) -> None:
    whole, parted = Path("whole"), Path("parted")
    assert command(["train", "--config", three_stages, "--out", "whole"]) == 0
    assert command(["train", "--config", three_stages, "--out", "parted", "--until-stage", "coarse"]) == 0
    assert "stage coarse is finished. Go on with: python launch.py train --resume parted" in capsys.readouterr().out
    assert not (parted / "report.json").exists() and not any((parted / "mesh").iterdir())
    assert latest_checkpoint(parted / "stages/1-coarse") and not latest_checkpoint(parted / "stages/2-middle")
    before = files(parted / "stages/1-coarse")
    assert command(["train", "--resume", "parted", "--until-stage", "0"]) == 0
    assert files(parted / "stages/1-coarse") == before and not latest_checkpoint(parted / "stages/2-middle")
    assert command(["train", "--resume", "parted", "--until-stage", "middle"]) == 0
    assert not latest_checkpoint(parted / "stages/3-fine") and not (parted / "report.json").exists()
    assert command(["train", "--resume", "parted"]) == 0
    assert all(is_same(whole / "stages" / name, parted / "stages" / name) for name in FOLDERS)
    assert [stage["name"] for stage in json.loads((parted / "report.json").read_text())["stages"]] == ["coarse", "middle", "fine"]
    assert (parted / "mesh/model.glb").read_bytes() == (whole / "mesh/model.glb").read_bytes()


def test_stages_that_are_trained_again_keep_what_was_there(three_stages: str, capsys: pytest.CaptureFixture) -> None:
    run = Path("run")
    assert command(["train", "--config", three_stages, "--out", "run"]) == 0
    before = files(run)
    again = ["train", "--resume", "run", "--from-stage", "middle"]
    assert command([*again, "stages.fine.steps=3"]) == 0
    assert "2-middle, 3-fine: moved to run/stages/kept-1" in capsys.readouterr().err
    kept = files(run / "stages/kept-1")
    moved = {name.removeprefix("stages/"): content for name, content in before.items() if not name.startswith("stages/1-")}
    assert kept == {name: moved[name] for name in moved if name not in ("environment.json", "config.yaml", ".lock")}
    assert {name: files(run)[name] for name in before if name.startswith("stages/1-")}.items() <= before.items()
    assert is_same(run / "stages/2-middle", run / "stages/kept-1/2-middle")
    assert latest_checkpoint(run).relative_to(run).as_posix() == "stages/3-fine/checkpoints/step-000003.ckpt"
    assert open_run(run).stages[2].trainer.max_steps == 3 and (run / "mesh/model.glb").is_file()
    assert command(["train", "--resume", "run", "--from-stage", "0", "--until-stage", "coarse"]) == 0
    assert sorted(path.name for path in (run / "stages/kept-2").iterdir() if path.name in FOLDERS) == list(FOLDERS)
    assert is_same(run / "stages/1-coarse", run / "stages/kept-2/1-coarse")


def test_a_stage_is_not_trained_again_before_those_that_it_starts_from_are_finished(three_stages: str) -> None:
    command(["train", "--config", three_stages, "--out", "run", "--until-stage", "coarse"])
    before = files(Path("run"))
    with pytest.raises(UserError, match=r"^--from-stage fine: stage middle is not finished\. Finish it first: .*--resume run$"):
        command(["train", "--resume", "run", "--from-stage", "fine"])
    assert files(Path("run")) == before
    # nothing to keep: it is the stage that a resume would train
    command(["train", "--resume", "run", "--from-stage", "middle"])
    assert not Path("run/stages/kept-1").exists() and Path("run/report.json").is_file()


def test_a_process_killed_while_it_moves_stages_loses_nothing(three_stages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path("run")
    command(["train", "--config", three_stages, "--out", "run"])
    rename, moved = Path.rename, []

    def killed(self: Path, target: Path) -> Path:
        if self.name == "2-middle":
            raise KeyboardInterrupt
        moved.append(self.name)
        return rename(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", killed)
        command(["train", "--resume", "run", "--from-stage", "middle"])
    assert moved[0] == "report.json" and moved[-1] == "3-fine"
    assert command(["train", "--resume", "run"]) == 0
    assert is_same(run / "stages/3-fine", run / "stages/kept-1/3-fine")


def test_a_job_that_the_launcher_restarts_goes_on_with_its_stages(three_stages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command(["train", "--config", three_stages, "--out", "run", "--until-stage", "middle"])
    config = load_config(Path(three_stages), [])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with opened(config, None, Path("run"), 1):
        assert stages.is_finished(Path("run/stages/2-middle"))
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    with opened(config, None, Path("run"), 1):
        assert not Path("run/stages/2-middle").exists() and Path("run/stages/kept-1/2-middle").is_dir()
