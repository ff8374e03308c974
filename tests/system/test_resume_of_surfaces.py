"""Runs of every geometry and of the renderers with parameters: killed and resumed they end bit-identically, and export."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch

from threefusion.config import load_config
from threefusion.exporter.writers import write_mesh
from threefusion.run.folder import latest_checkpoint, new_run_folder, open_run
from threefusion.run.training import train
from threefusion.system.text_to_3d import TextTo3D
from threefusion.testing.samples import small_ball

pytestmark = pytest.mark.slow

NETWORK = "radius: 0.8, encoding: {type: dense-grid, levels: 1, features: 4, base_resolution: 8}, hidden_width: 8"
SAMPLER = "sampler: {type: occupancy, samples_per_ray: 16}"
CASES = {
    "neus": f"""
geometry: {{type: sdf-field, {NETWORK}}}
renderer: {{type: neus, cos_anneal: {{knots: {{0: 0, 6: 1}}}}, {SAMPLER}}}
loss: {{eikonal: {{weight: 0.1}}}}
""",
    "volsdf": f"""
geometry: {{type: sdf-field, {NETWORK}}}
renderer: {{type: volsdf, {SAMPLER}}}
loss: {{eikonal: {{weight: 0.1}}, normal-smoothness-3d: {{weight: 0.1}}}}
""",
    "tetrahedra": f"""
geometry: {{type: tetrahedra, resolution: 20, {NETWORK}}}
renderer: {{type: rasterizer}}
loss: {{orientation: null, normal-consistency: {{weight: 0.1}}, sdf-entropy: {{weight: 0.1}}}}
""",
    "fixed-mesh": f"""
geometry: {{type: fixed-mesh, init_from: ball.glb, {NETWORK}}}
renderer: {{type: rasterizer}}
material: {{type: pbr}}
loss: null
""",
    "voxel-grid": f"""
geometry: {{type: voxel-grid, radius: 0.8, resolution: 12}}
renderer: {{type: volume, {SAMPLER}}}
""",
    "tri-plane": f"""
geometry: {{type: tri-plane, radius: 0.8, encoding: {{type: tri-plane, resolution: 12, features: 4}}, hidden_width: 8}}
renderer: {{type: patch, size: 6, downsample: 2, base: {{type: volume, {SAMPLER}}}}}
loss: {{orientation: null}}
""",
}
TRAINED = {"neus": ("renderer.log_sharpness", log(20)), "volsdf": ("renderer.log_width", log(0.1))}
"""The renderer's own parameter and its initial value."""
REST = """
extends: tiny.yaml
trainer: {max_steps: 6}
output: {checkpoint_interval: 2, image_interval: 100}
exporter: {type: mesh, resolution: 24, texture_size: 64, views: 2, view_size: 16}
"""
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["threefusion.run.training", "threefusion.system.build", "threefusion.run.trainer"])


def train_and_die(folder: str, at: int) -> None:
    """Train in a process that is killed at the beginning of step `at`."""
    step = TextTo3D.training_step

    def deadly(self: TextTo3D, batch: object, batch_idx: int) -> torch.Tensor:
        if self.global_step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, batch_idx)

    TextTo3D.training_step = deadly
    train(open_run(Path(folder)), Path(folder))


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_as_if_it_had_not_been_killed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ball = small_ball()
    write_mesh(
        replace(ball, vertices=1.2 * ball.vertices, normals=ball.vertices, colors=0.5 + ball.vertices / 2), tmp_path, ["glb"]
    )
    Path("model.glb").rename("ball.glb")
    Path("tiny.yaml").write_text(tiny.read_text())
    Path("run.yaml").write_text(REST + CASES[case])
    config = load_config(Path("run.yaml"), [])
    whole, killed = new_run_folder(config, Path("whole")), new_run_folder(config, Path("killed"))
    assert train(config, whole) == 0
    process = context.Process(target=train_and_die, args=("killed", 5))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL and latest_checkpoint(killed).name == "step-000004.ckpt"
    # what the run started from is in the checkpoint
    Path("ball.glb").unlink()
    assert train(open_run(killed), killed) == 0

    expected, got = (torch.load(latest_checkpoint(run), weights_only=True) for run in (whole, killed))
    assert expected["state_dict"].keys() == got["state_dict"].keys()
    assert all(torch.equal(value, got["state_dict"][name]) for name, value in expected["state_dict"].items())
    moments, others = (state["optimizer_states"][0]["state"] for state in (expected, got))
    assert moments.keys() == others.keys() and len(moments) > 0
    assert all(torch.equal(moments[key][name], others[key][name]) for key in moments for name in ("exp_avg", "exp_avg_sq"))
    rows = Path("killed/metrics.csv").read_bytes()
    assert rows == Path("whole/metrics.csv").read_bytes() and len(list(csv.DictReader(rows.decode().splitlines()))) == 6
    assert Path("killed/mesh/model.glb").read_bytes() == Path("whole/mesh/model.glb").read_bytes()
    assert json.loads(Path("killed/report.json").read_text())["export"]["watertight"]
    if case in TRAINED:
        name, start = TRAINED[case]
        assert abs(float(got["state_dict"][name]) - start) > 1e-3
