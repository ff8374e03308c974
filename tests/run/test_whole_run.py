"""What a user meets at the end of a run: files, an empty scene, an interruption."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from forked import Command, command

from threefusion.run import page
from threefusion.run.exported import ExportedFiles
from threefusion.run.page import is_page


@pytest.mark.slow
def test_a_run_leaves_what_the_docs_promise_and_can_be_looked_at_again(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    mesh = ["exporter.type=mesh", "exporter.resolution=32", "exporter.texture_size=64"]
    done = command("train", "--config", tiny, "--out", out, "trainer.max_steps=4", *mesh)
    assert done.code == 0, done.errors
    assert done.output.splitlines()[-1] == f"mesh: {out / 'mesh' / 'model.glb'}"
    report = json.loads((out / "report.json").read_text())
    assert report["steps"] == 4
    assert set(report["phase_seconds"]) == {"render", "guidance", "backward", "other"}
    assert sum(report["phase_seconds"].values()) == pytest.approx(report["seconds"], abs=0.05)
    milliseconds = report["phase_milliseconds_per_step"]
    assert sum(milliseconds.values()) == pytest.approx(1000 * report["seconds"] / 4, rel=0.01, abs=1000 * 0.01 / 4)
    assert done.output.startswith("4 steps in ") and "iterations/s; a step: " in done.output.splitlines()[0]
    assert report["peak_memory_bytes"] > 1e8
    # four steps at guidance scale 1: four views each, the text alone
    assert (report["network_calls"], report["network_images"]) == (4, 16)
    assert report["metrics"]["best_class"]
    assert all((out / path).exists() for path in report["artifacts"].values())
    assert is_page(out / "index.html", "run") and f"page: {out / 'index.html'}" in done.errors
    moved = out.rename(tmp_path / "moved")
    words = ["--views", "2", "--mode", "normal", "--size", "16", "--out", "pictures"]
    assert command("render", moved, *words, cwd=tmp_path).code == 0
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


@pytest.mark.slow
def test_an_empty_scene_is_one_sentence_and_keeps_the_run(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["exporter.type=mesh", "trainer.max_steps=1", "geometry.bias=-40"]
    done = command("train", "--config", tiny, "--out", out, *words)
    assert done.code == 2
    assert "Traceback" not in done.errors
    assert "empty" in done.errors
    artifacts = json.loads((out / "report.json").read_text())["artifacts"]
    assert artifacts["mesh"] is None and (out / artifacts["video"]).is_file()  # of the field
    assert list((out / "checkpoints").glob("*.ckpt"))
    assert not list((out / "mesh").iterdir())
    assert is_page(out / "index.html", "run") and "empty" in done.errors.splitlines()[-1]
    # what was exported before the scene became empty does not stay to be taken for the result; other files do
    with ExportedFiles(out).folder(out / "mesh") as waiting:
        (waiting / "model.glb").write_text("an earlier mesh")
    (out / "mesh" / "mine.blend").write_text("work")
    assert command("train", "--resume", out, "trainer.max_steps=2").code == 2
    assert {path.name for path in (out / "mesh").iterdir()} == {"mine.blend", "model.kept-1.glb"}


def without_pages() -> None:
    """Break the function that writes the page of a run."""
    page.write_page = None


@pytest.mark.slow
def test_ctrl_c_saves_says_how_to_go_on_and_the_time_before_counts(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = Command("train", "--config", tiny, "--out", out, "trainer.max_steps=100000")
    while not list((out / "checkpoints").glob("*.ckpt")) if out.exists() else True:
        assert process.pid
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    stopped = process.end()
    errors = stopped.errors
    assert stopped.code == 130, errors
    assert f"--resume {out}" in errors and is_page(out / "index.html", "run")
    step = int(errors.split("stopped at step ")[1].split(".")[0])
    assert (out / "checkpoints" / f"step-{step:06d}.ckpt").exists()
    state = torch.load(out / "checkpoints" / f"step-{step:06d}.ckpt", weights_only=True)
    before = state["callbacks"]["RunCost"]["seconds"]
    assert before > 0.1
    done = command("train", "--resume", out, f"trainer.max_steps={step + 2}", before=without_pages)
    assert done.code == 0 and done.errors.count("index.html: not written: ") == 1, done.errors
    report = json.loads((out / "report.json").read_text())
    assert report["steps"] == step + 2
    assert report["seconds"] == pytest.approx(sum(report["phase_seconds"].values()), abs=0.05) and report["seconds"] > before
    # four views each, the text alone
    assert (report["network_calls"], report["network_images"]) == (step + 2, 4 * (step + 2))
