"""A run that is continued with other settings, from a damaged checkpoint, or after a Ctrl-C within a step."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch

from threefusion.config import RunConfig, load_config
from threefusion.errors import UserError
from threefusion.run.checkpoint import PARTS, read_checkpoint
from threefusion.run.folder import latest_checkpoint, new_run_folder, open_run
from threefusion.run.training import train
from threefusion.system.text_to_3d import TextTo3D

pytestmark = pytest.mark.slow


def state(run: Path) -> dict:
    """The newest checkpoint."""
    return torch.load(latest_checkpoint(run), weights_only=True)


def begin(tiny: Path, out: Path, *overrides: str) -> Path:
    """The folder of a run that was trained to its end."""
    config = load_config(tiny, list(overrides))
    run = new_run_folder(config, out)
    assert train(config, run) == 0
    return run


def continued(run: Path, *overrides: str) -> RunConfig:
    """The config of a run, changed."""
    return load_config(run / "config.yaml", list(overrides))


def test_settings_are_kept_once_they_fit_and_the_optimiser_follows_them(tiny: Path, tmp_path: Path) -> None:
    run = begin(tiny, tmp_path / "run", "trainer.max_steps=2")
    (group,) = state(run)["optimizer_states"][0]["param_groups"]
    assert group["initial_lr"] == 0.01
    faster = continued(run, "trainer.max_steps=3", "optimizer.lr=0.5", "optimizer.betas=[0.5, 0.6]")
    assert train(faster, run) == 0
    (group,) = state(run)["optimizer_states"][0]["param_groups"]
    assert (group["initial_lr"], group["lr"], list(group["betas"])) == (0.5, 0.5, [0.5, 0.6])
    assert open_run(run) == faster
    for wrong, said in (
        ("geometry.encoding.base_resolution=8", "made with another config"),
        ("geometry.encoding.type=frequency", "made with another config"),
        ("optimizer.groups={geometry.encoding: 0.001}", "optimizer.groups: the checkpoint was made with others"),
        ("trainer.devices=0", "trainer.devices: "),
    ):
        with pytest.raises(UserError, match=said):
            train(continued(run, wrong), run)
        assert open_run(run) == faster
    assert state(run)["global_step"] == 3


def test_a_damaged_checkpoint_is_named_and_so_is_the_one_before_it(tiny: Path, tmp_path: Path) -> None:
    run = begin(tiny, tmp_path / "run", "trainer.max_steps=2", "output.checkpoint_interval=1")
    newest = latest_checkpoint(run)
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"step-000002\.ckpt: cannot be read .*Remove it to go on from step-000001\.ckpt"):
        train(continued(run), run)
    newest.unlink()
    assert train(continued(run), run) == 0


def test_ctrl_c_within_a_step_of_several_micro_batches_ends_it_first(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("trainer.accumulate_grad_batches=4", "trainer.max_steps=5")
    whole = begin(tiny, tmp_path / "whole", *words)
    step = TextTo3D.training_step

    def interrupted(self: TextTo3D, batch: object, batch_idx: int) -> torch.Tensor:
        if self.batches_seen == 9:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TextTo3D, "training_step", interrupted)
    config = load_config(tiny, list(words))
    run = new_run_folder(config, tmp_path / "run")
    assert train(config, run) == 130
    assert (state(run)["global_step"], state(run)["batches_seen"]) == (3, 12)
    assert train(config, run) == 0
    expected, got = state(whole)["state_dict"], state(run)["state_dict"]
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def report(run: Path) -> dict:
    """report.json."""
    return json.loads((run / "report.json").read_text())


@pytest.mark.usefixtures("terminal")
def test_the_time_limit_of_the_trainer_holds(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(tiny, tmp_path / "run", "trainer.max_time=00:00:00:00")
    assert latest_checkpoint(run) is None
    assert "nothing to train after step 0: trainer.max_time, which counts all parts of a run, is over" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_what_trains_nothing_says_why_and_keeps_the_cost(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(tiny, tmp_path / "run", "trainer.max_steps=4")
    first = report(run)
    assert all(first["phase_seconds"].values()) and "nothing to train" not in capsys.readouterr().err
    for overrides, reason in ((), "trainer.max_steps=4"), (("trainer.max_steps=2",), "trainer.max_steps=2"):
        assert train(continued(run, *overrides), run) == 0
        assert f"nothing to train after step 4: {reason}\n" in capsys.readouterr().err
        again = report(run)
        for name in ("steps", "seconds", "phase_seconds", "phase_milliseconds_per_step", "network_calls"):
            assert again[name] == first[name], name
        assert again["peak_memory_bytes"] >= first["peak_memory_bytes"]


def test_the_cost_of_all_parts_adds_up(tiny: Path, tmp_path: Path) -> None:
    run = begin(tiny, tmp_path / "run", "trainer.max_steps=3")
    first = report(run)
    assert train(continued(run, "trainer.max_steps=6"), run) == 0
    whole = report(run)
    assert all(whole["phase_seconds"][name] > seconds for name, seconds in first["phase_seconds"].items())
    assert sum(whole["phase_seconds"].values()) == pytest.approx(whole["seconds"], abs=0.05)
    assert sum(whole["phase_milliseconds_per_step"].values()) == pytest.approx(1000 * whole["seconds"] / 6, rel=0.02)


@pytest.mark.usefixtures("terminal")
def test_a_run_that_was_ended_by_its_time_limit_says_so_and_trains_nothing_when_it_is_resumed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = TextTo3D.training_step
    monkeypatch.setattr(TextTo3D, "training_step", lambda *given: time.sleep(0.4) or step(*given))
    run = begin(tiny, tmp_path / "run", "trainer.max_steps=-1", "trainer.max_time=00:00:00:01")
    reached = state(run)["global_step"]
    assert f"trainer.max_time ended the training at step {reached}\n" in capsys.readouterr().err
    assert train(continued(run), run) == 0
    assert f"nothing to train after step {reached}: trainer.max_time, which" in capsys.readouterr().err
    assert report(run)["steps"] == state(run)["global_step"] == reached


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1], torch.zeros(3)])
def test_a_checkpoint_of_another_program_is_refused_in_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "step-000200.ckpt")
    with pytest.raises(UserError, match=r"step-000200\.ckpt: cannot be read \(.*no checkpoint of this version: it has no '"):
        read_checkpoint(tmp_path / "step-000200.ckpt", PARTS)


@pytest.mark.usefixtures("terminal")
def test_changed_settings_are_named_on_resume(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = new_run_folder(load_config(tiny, ["trainer.max_steps=1"]), tmp_path / "run")
    train(open_run(run), run)
    train(load_config(run / "config.yaml", ["trainer.max_steps=2", "optimizer.lr=0.02"]), run)
    changed = [line for line in capsys.readouterr().err.splitlines() if "config.yaml" in line]
    assert changed == [
        "config.yaml: since step 1, optimizer.lr was 0.01, now 0.02; trainer.max_steps was 1, now 2",
    ]
    train(open_run(run), run)
    assert "config.yaml" not in capsys.readouterr().err
