"""What a user meets at the end of a run: files, an empty scene, an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from threefusion.run.exported import ExportedFiles

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command line and environment of a training in a process of its own."""
    return [sys.executable, str(ROOT / "launch.py"), *arguments], os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_a_run_leaves_what_the_docs_promise_and_can_be_looked_at_again(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line, environment = command("train", "--config", str(tiny), "--out", str(out), "trainer.max_steps=4")
    line += ["exporter.type=mesh", "exporter.resolution=32", "exporter.texture_size=64"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"mesh: {out / 'mesh' / 'model.glb'}"
    report = json.loads((out / "report.json").read_text())
    assert report["steps"] == 4
    assert set(report["phase_seconds"]) == {"render", "guidance", "backward", "other"}
    assert sum(report["phase_seconds"].values()) == pytest.approx(report["seconds"], abs=0.05)
    milliseconds = report["phase_milliseconds_per_step"]
    assert sum(milliseconds.values()) == pytest.approx(1000 * report["seconds"] / 4, rel=0.01, abs=1000 * 0.01 / 4)
    assert done.stdout.startswith("4 steps in ") and "iterations/s; a step: " in done.stdout.splitlines()[0]
    assert report["peak_memory_bytes"] > 1e8
    # four steps at guidance scale 1: four views each, the text alone
    assert (report["network_calls"], report["network_images"]) == (4, 16)
    assert report["metrics"]["best_class"]
    assert all((out / path).exists() for path in report["artifacts"].values())
    moved = out.rename(tmp_path / "moved")
    line, environment = command("render", str(moved), "--views", "2", "--mode", "normal", "--size", "16", "--out", "pictures")
    assert subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


@pytest.mark.slow
def test_an_empty_scene_is_one_sentence_and_keeps_the_run(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line, environment = command("train", "--config", str(tiny), "--out", str(out), "exporter.type=mesh", "trainer.max_steps=1")
    done = subprocess.run([*line, "geometry.bias=-40"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "empty" in done.stderr
    assert json.loads((out / "report.json").read_text())["artifacts"]["mesh"] is None
    assert list((out / "checkpoints").glob("*.ckpt"))
    assert not list((out / "mesh").iterdir())
    # what was exported before the scene became empty does not stay to be taken for the result; other files do
    with ExportedFiles(out).folder(out / "mesh") as waiting:
        (waiting / "model.glb").write_text("an earlier mesh")
    (out / "mesh" / "mine.blend").write_text("work")
    line, environment = command("train", "--resume", str(out), "trainer.max_steps=2")
    assert subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True).returncode == 2
    assert {path.name for path in (out / "mesh").iterdir()} == {"mine.blend", "model.kept-1.glb"}


@pytest.mark.slow
def test_ctrl_c_saves_says_how_to_go_on_and_the_time_before_counts(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line, environment = command("train", "--config", str(tiny), "--out", str(out), "trainer.max_steps=100000")
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while not list((out / "checkpoints").glob("*.ckpt")) if out.exists() else True:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"--resume {out}" in errors
    step = int(errors.split("stopped at step ")[1].split(".")[0])
    assert (out / "checkpoints" / f"step-{step:06d}.ckpt").exists()
    state = torch.load(out / "checkpoints" / f"step-{step:06d}.ckpt", weights_only=True)
    before = state["callbacks"]["RunCost"]["seconds"]
    assert before > 0.1
    line, environment = command("train", "--resume", str(out), f"trainer.max_steps={step + 2}")
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["steps"] == step + 2
    assert report["seconds"] == pytest.approx(sum(report["phase_seconds"].values()), abs=0.05) and report["seconds"] > before
    # four views each, the text alone
    assert (report["network_calls"], report["network_images"]) == (step + 2, 4 * (step + 2))
