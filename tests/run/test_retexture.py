"""Runs on a mesh file: command line, report, a killed run whose original has moved, an anchored start, stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from box_file import box_glb
from tiny import save_tiny_sd
from tiny_conditioned import save_tiny_controlnet

from threefusion.cli.main import run
from threefusion.errors import ConfigError, UserError
from threefusion.run.checkpoint import read_checkpoint
from threefusion.run.folder import latest_checkpoint

CONFIG = """
extends: {tiny}
camera: {{type: coverage, candidates: 12, albedo_steps: 99}}
geometry: {{type: textured-mesh, radius: 0.8, grids: [4]}}
renderer: {{type: rasterizer}}
loss: {{orientation: null, sparsity: null, anchor: {{weight: 1}}}}
exporter: {{type: retextured}}
output: {{turntable_frames: 0, checkpoint_interval: 2, image_interval: 100}}
trainer: {{max_steps: 4}}
"""
TINY = Path(__file__).parents[1] / "tiny.yaml"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("box.yaml").write_text(CONFIG.format(tiny=TINY))
    box_glb(Path("box.glb"))
    return "box.yaml"


def state(folder):
    return read_checkpoint(latest_checkpoint(Path(folder)))["state_dict"]


def test_a_run_is_resumed_bit_by_bit_after_its_mesh_has_moved(config):
    whole = ["train", "--config", config, "--mesh", "box.glb", "--prompt", "a red ball"]
    assert run([*whole, "--out", "whole"]) == 0
    assert run([*whole, "--out", "part", "trainer.max_steps=2"]) == 0
    Path("box.glb").rename("moved.glb")
    assert run(["train", "--resume", "part", "trainer.max_steps=4"]) == 0
    one, other = state("whole"), state("part")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    report = json.loads(Path("whole/report.json").read_text())
    # a ball, but not the toy world's: the shape is the user's, and so is its size
    assert report["metrics"] is None
    assert 0.3 < report["seen_texels"] <= 1 and report["artifacts"]["mesh"] == "mesh/box.glb"
    assert Path("part/mesh/box.glb").read_bytes() == Path("whole/mesh/box.glb").read_bytes() != Path("moved.glb").read_bytes()


def test_a_mesh_for_a_config_that_takes_none_is_refused(config):
    with pytest.raises(UserError, match="--mesh: the config's geometry takes no mesh file"):
        run(["train", "--config", "quickstart", "--mesh", "box.glb"])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "geometry.mesh: 'textured-mesh' needs a mesh file: train with --mesh FILE"),
        (["--mesh", "none.glb"], "none.glb does not exist"),
        (["--mesh", "box.yaml"], "box.yaml is no mesh; expected a file .glb"),
    ],
)
def test_a_mesh_that_is_missing_is_refused_before_anything_is_written(config, words, problem):
    with pytest.raises(ConfigError, match=problem):
        run(["train", "--config", config, "--out", "out", *words])
    assert not Path("out").exists()


def test_depth_of_the_mesh_conditions_a_latent_prior(config, tmp_path):
    model = save_tiny_sd(tmp_path / "model")
    controlnet = save_tiny_controlnet(tmp_path / "controlnet", model)
    prior = f"{{type: latent, model: {model}, dtype: float32, control: [{{model: {controlnet}, what: depth}}]}}"
    words = ["--mesh", "box.glb", "--prompt", "a red ball", "--out", "run", "trainer.max_steps=2"]
    assert run(["train", "--config", config, *words, f"guidance={{type: sds, prior: {prior}}}"]) == 0
    assert Path("run/mesh/box.glb").exists()


def test_a_texture_that_does_not_change_is_warned_of(config, capsys):
    words = ["--mesh", "box.glb", "--prompt", "a red ball", "trainer.max_steps=21", "exporter=null"]
    assert run(["train", "--config", config, *words, "--out", "still", "guidance.weight=0"]) == 0
    assert "steps have not changed the scene. No gradient reaches it" in capsys.readouterr().err
