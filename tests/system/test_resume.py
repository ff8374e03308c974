"""A run killed at any step and resumed ends with bit-identical parameters and metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

KILLER = """
import os, signal, sys
from threefusion.cli.main import main
from threefusion.system import text_to_3d

step = text_to_3d.TextTo3D.training_step

def deadly(self, batch, batch_idx):
    if self.global_step == int(os.environ["DIE_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)

text_to_3d.TextTo3D.training_step = deadly
main(sys.argv[1:])
"""
ROOT = Path(__file__).parents[2]


def train(*arguments: str, die_at: int | None = None) -> int:
    """Run the command line in a process of its own; the exit code."""
    script = ["-c", KILLER] if die_at is not None else ["launch.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DIE_AT": str(die_at)}
    done = subprocess.run(
        [sys.executable, *script, "train", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def final_parameters(run: Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers at the end of a run."""
    return torch.load(run / "checkpoints" / "step-000012.ckpt", weights_only=True)["state_dict"]


OTHERS = {
    "adam": [],
    "shampoo": ["optimizer=shampoo"],
    "critic": ["guidance.type=vsd", "guidance.critic.lr=0.01"],
}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [*OTHERS.values()], ids=[*OTHERS])
def test_a_killed_run_ends_as_if_it_had_not_been_killed(tiny: Path, tmp_path: Path, overrides: list[str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # rows of three steps, which checkpoints of five cut through
    words = ("--config", str(tiny), *overrides, "trainer.log_every_n_steps=3", "--out")
    train(*words, str(whole))
    assert train(*words, str(killed), die_at=2) == -9
    assert not list((killed / "checkpoints").glob("*.ckpt"))
    assert train("--resume", str(killed), die_at=8) == -9
    assert [p.name for p in (killed / "checkpoints").glob("*.ckpt")] == ["step-000005.ckpt"]
    train("--resume", str(killed))
    expected, got = final_parameters(whole), final_parameters(killed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    rows = (killed / "metrics.csv").read_bytes()
    assert rows == (whole / "metrics.csv").read_bytes() and rows.count(b"\n") == 1 + 4
