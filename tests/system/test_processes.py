"""Two processes are the same run as one: same gradients, no hang, one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

LOOKING_AWAY = """
import sys
from dataclasses import replace

import torch
from threefusion.camera.orbital import OrbitalCameras
from threefusion.cli.main import main
from threefusion.types import Shading

sample = OrbitalCameras.sample

def awkward(self, step, seed, index):
    # Views 0 and 1 look at the scene, lit; views 2 and 3 (the second process) look away, in albedo: every ray misses.
    batch = sample(self, step, seed, index)
    away = index >= 2
    c2w = batch.camera.c2w.clone()
    c2w[away, :3, :3] = c2w[away, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    shading = torch.where(away, int(Shading.ALBEDO), int(Shading.LIT))
    return replace(batch, camera=replace(batch.camera, c2w=c2w), shading=shading)

OrbitalCameras.sample = awkward
main(sys.argv[1:])
"""

SURFACE = ["geometry.type=sdf-field", "renderer.type=neus", "loss.eikonal.weight=0.1"]
RUNS = {
    "critic": ["trainer.max_steps=3", "guidance.type=vsd", "guidance.critic.lr=0.01"],
    "one stage": ["trainer.max_steps=3"],
    "two stages": ["stages=[{steps: 2}, {steps: 3, camera: {height: 8, width: 8}}]"],
    "renderer with a parameter": [
        "trainer.max_steps=3",
        "geometry.type=sdf-field",
        "renderer.type=neus",
        "loss.eikonal.weight=0.1",
    ],
    "matrix roots": [
        "trainer.max_steps=3",
        "optimizer={type: shampoo, graft: sgd, start_step: 2}",
        "geometry.encoding.type=frequency",
    ],
}


def run(tmp_path: Path, config: Path, name: str, *overrides: str) -> dict[str, torch.Tensor]:
    """Train with `overrides`; the parameters at the end."""
    script = tmp_path / "awkward.py"
    script.write_text(LOOKING_AWAY)
    out = tmp_path / name
    command = [
        sys.executable,
        str(script),
        "train",
        "--config",
        str(config),
        "--out",
        str(out),
        *overrides,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    checkpoints = sorted(out.rglob("*.ckpt"))
    assert len(checkpoints) == len(list(out.rglob("checkpoints")))
    return torch.load(checkpoints[-1], weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [*RUNS.values()], ids=[*RUNS])
def test_two_processes_take_the_same_steps_as_one(
    tiny: Path, tmp_path: Path, overrides: list[str], request: pytest.FixtureRequest
) -> None:
    # With a large eps Adam is linear in the gradients; else it would turn round-off in a zero gradient into a whole step.
    linear = overrides if "matrix roots" in request.node.name else [*overrides, "optimizer.eps=1.0"]
    one = run(tmp_path, tiny, "one", *linear)
    two = run(tmp_path, tiny, "two", "trainer.devices=2", *linear)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
