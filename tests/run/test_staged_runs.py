"""A run in stages: one starts from the other, it resumes in either, and several exporters write its result."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import command, die_at, nothing
from states import is_same

from threefusion.config import RunConfig, load_config
from threefusion.errors import UserError
from threefusion.run.folder import latest_checkpoint, new_run_folder, open_run, stage_folders
from threefusion.run.results import export, load_scene
from threefusion.run.training import train
from threefusion.system.build import build_system
from threefusion.system.text_to_3d import TextTo3D

pytestmark = pytest.mark.slow

TEXT = """extends: tiny.yaml
loss: {orientation: null}
output: {checkpoint_interval: 2}
stages:
  - {name: coarse, steps: 5, camera: {height: 8, width: 8}}
  - name: fine
    steps: 4
    geometry: {type: voxels}
    renderer: {sampler: {samples_per_ray: 24}}
"""


@pytest.fixture
def two_stages(staged_folder: Path) -> Path:
    """A config with a stage whose geometry starts from another one's."""
    path = staged_folder / "stages.yaml"
    path.write_text(TEXT)
    return path


def process(*arguments: str, before: Callable[[], None] = nothing) -> int:
    """Run the command line in a process of its own; the exit code."""
    ended = command("train", *arguments, cwd=Path.cwd(), before=before)
    assert ended.code in (0, -9), ended.errors
    return ended.code


def begin(path: Path, run: str, *overrides: str) -> tuple[RunConfig, Path]:
    """The config and a new folder."""
    config = load_config(path, list(overrides))
    return config, new_run_folder(config, Path(run))


def test_a_run_killed_in_either_stage_ends_as_if_it_had_not_been(two_stages: Path) -> None:
    process("--config", str(two_stages), "--out", "whole")
    assert process("--config", str(two_stages), "--out", "killed", before=partial(die_at, 3, "coarse")) == -9
    coarse, fine = stage_folders(Path("killed"), load_config(two_stages, []))
    assert latest_checkpoint(coarse).name == "step-000002.ckpt" and not fine.joinpath("report.json").exists()
    assert process("--resume", "killed", before=partial(die_at, 3, "fine")) == -9
    ended = latest_checkpoint(coarse).stat().st_mtime_ns
    assert latest_checkpoint(fine).name == "step-000002.ckpt"
    assert process("--resume", "killed") == 0
    for stage in ("1-coarse", "2-fine"):
        assert is_same(Path("whole/stages") / stage, Path("killed/stages") / stage)
    assert latest_checkpoint(coarse).stat().st_mtime_ns == ended
    rows = [[int(row["step"]) for row in csv.DictReader((folder / "metrics.csv").open())] for folder in (coarse, fine)]
    assert rows == [list(range(5)), list(range(4))]
    report = json.loads(Path("killed/report.json").read_text())
    assert [(stage["name"], stage["steps"]) for stage in report["stages"]] == [("coarse", 5), ("fine", 4)]
    # four views a step, the text alone; what was killed after a checkpoint is not counted
    assert (report["steps"], report["network_calls"], report["network_images"]) == (9, 9, 36)
    assert report["seconds"] == pytest.approx(sum(stage["seconds"] for stage in report["stages"]), abs=0.02)
    assert report["artifacts"]["checkpoint"] == "stages/2-fine/checkpoints/step-000004.ckpt"


def test_the_second_stage_starts_from_the_scene_of_the_first(two_stages: Path) -> None:
    config, run = begin(two_stages, "run", "stages.fine.steps=1", "optimizer.lr=1e-9")
    assert train(config, run) == 0
    reached, scene, _, camera = load_scene(run)
    assert reached == config and camera.cfg == config.stages[1].camera
    field = open_run(run).stages[0]
    coarse = torch.load(latest_checkpoint(run / "stages" / "1-coarse"), weights_only=True)["state_dict"]
    assert type(scene.geometry).__name__ == "Voxels" and field.geometry.radius == 0.8
    from threefusion.system.scene import build_scene, restore_scene

    before, renderer = build_scene(field)
    restore_scene(before, renderer, coarse)
    node = torch.tensor([[-0.8, -0.8, -0.8], [0.8 / 11, 0.8 / 11, 0.8 / 11]])
    torch.testing.assert_close(scene.geometry.features(node), before.geometry.features(node), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scene.geometry.density(node), before.geometry.density(node), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("at", "stopped"), [("coarse 1", "step 2 of stage coarse"), ("coarse 4", "step 5 of stage coarse")])
def test_ctrl_c_in_a_stage_saves_and_goes_on(
    two_stages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, at: str, stopped: str
) -> None:
    config, run = begin(two_stages, "run")
    step = TextTo3D.training_step

    def interrupted(self: TextTo3D, batch: object, batch_idx: int) -> torch.Tensor:
        if f"{self.config.name} {self.global_step}" == at:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(TextTo3D, "training_step", interrupted)
        assert train(config, run) == 130
    assert f"stopped at {stopped}. Resume with: python launch.py train --resume run" in capsys.readouterr().err
    assert not (run / "report.json").exists() and latest_checkpoint(run / "stages" / "2-fine") is None
    assert train(config, run) == 0
    whole, other = begin(two_stages, "whole")
    assert train(whole, other) == 0
    assert is_same(run, other)


@pytest.mark.usefixtures("terminal")
def test_ctrl_c_before_a_stage_says_how_to_go_on_if_anything_was_trained(
    two_stages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config, run = begin(two_stages, "run")
    interrupted_at = "coarse"

    def build(stage: RunConfig, *rest: Any, **more: Any) -> TextTo3D:
        if stage.name == interrupted_at:
            raise KeyboardInterrupt
        return build_system(stage, *rest, **more)

    monkeypatch.setattr("threefusion.system.build.build_system", build)
    with pytest.raises(KeyboardInterrupt):
        train(config, run)
    interrupted_at = "fine"
    assert train(config, run) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted. Resume with: python launch.py train --resume run"
    interrupted_at = "none"
    assert train(config, run) == 0


def test_a_finished_run_goes_on_in_its_last_stage(two_stages: Path) -> None:
    config, run = begin(two_stages, "run")
    assert train(config, run) == 0
    longer = load_config(run / "config.yaml", ["stages.fine.steps=6", "stages.coarse.steps=9"])
    assert train(longer, run) == 0
    assert latest_checkpoint(run / "stages" / "1-coarse").name == "step-000005.ckpt"
    assert latest_checkpoint(run).name == "step-000006.ckpt"
    assert open_run(run) == longer


def test_a_stage_that_makes_no_step_is_refused_by_name(two_stages: Path) -> None:
    config, run = begin(two_stages, "run", "trainer.max_time=00:00:00:00")
    with pytest.raises(UserError, match=r"stage coarse ended before its first step\. Raise trainer\.max_time"):
        train(config, run)


def test_every_exporter_writes_into_its_own_folder(two_stages: Path) -> None:
    small = ["exporter.model.type=mesh", "exporter.model.resolution=32", "exporter.model.texture_size=64"]
    config, run = begin(two_stages, "run", "exporter.points.type=count", *small, "stages=null", "trainer.max_steps=2")
    assert train(config, run) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["artifacts"]["mesh"] == "mesh/model/model.glb"
    assert report["exports"]["points"]["files"] == ["mesh/points/count.txt"]
    assert report["exports"]["points"]["dense"] == int((run / "mesh/points/count.txt").read_text()) > 0
    assert report["export"].items() <= report["exports"]["model"].items() and report["metrics"]["best_class"]
    shutil.rmtree(run / "mesh")
    files = [str(path) for path in export(run, config, None)]
    assert files == ["run/mesh/points/count.txt", "run/mesh/model/model.glb"]
    # a choice of formats is for those that have one
    others = [str(path) for path in export(run, config, {"formats": ["stl"]})]
    assert "run/mesh/model/model.stl" in others and not any("points" in path for path in others)


@pytest.mark.parametrize("content", ['{"mine": 1}', "[]"])
def test_a_stage_whose_report_was_replaced_gets_it_again(two_stages: Path, content: str) -> None:
    config, run = begin(two_stages, "run", "exporter=null")
    assert train(config, run) == 0
    folder = run / "stages" / "1-coarse"
    before = json.loads((run / "report.json").read_text())
    (folder / "report.json").write_text(content)
    assert train(open_run(run), run) == 0
    after = json.loads((run / "report.json").read_text())
    assert (after["steps"], after["metrics"]) == (before["steps"], before["metrics"]) and (folder / "report.kept-1.json").exists()
