"""A run killed at any step and resumed ends with bit-identical parameters and metrics."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from forked import command, die_at, nothing


def train(*arguments: str, die: int | None = None) -> int:
    """Run the command line in a process of its own, which is killed when step `die` begins; the exit code."""
    ended = command("train", *arguments, before=nothing if die is None else partial(die_at, die))
    assert ended.code in (0, -9), ended.errors
    return ended.code


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
    assert train(*words, str(killed), die=2) == -9
    assert not list((killed / "checkpoints").glob("*.ckpt"))
    assert train("--resume", str(killed), die=8) == -9
    assert [p.name for p in (killed / "checkpoints").glob("*.ckpt")] == ["step-000005.ckpt"]
    train("--resume", str(killed))
    expected, got = final_parameters(whole), final_parameters(killed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    rows = (killed / "metrics.csv").read_bytes()
    assert rows == (whole / "metrics.csv").read_bytes() and rows.count(b"\n") == 1 + 4
