"""A run that is watched ends as one that is not; one that is steered goes on with the same bits when it is resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from forked import ranks
from scripted import orbiting, played

from threefusion.config import load_config
from threefusion.messages import Message, Noted, Warned, listening
from threefusion.run.folder import latest_checkpoint, new_run, open_run
from threefusion.run.training import train
from threefusion.viewer.viewer import Chose, Left, Pressed, Turned

WATCHED = ("viewer.type=scripted", "viewer.budget=1", "viewer.resolution=24")
CHANNELS = ("colour", "albedo", "normals", "opacity", "depth")


def run(tiny: Path, out: Path, *overrides: str) -> int:
    """Train the tiny config in a new folder."""
    with new_run(load_config(tiny, list(overrides)), out) as folder:
        return train(load_config(tiny, list(overrides)), folder)


def resume(out: Path, *overrides: str) -> int:
    """Go on with a run."""
    return train(open_run(out, list(overrides)), out)


def bits(folder: Path) -> dict[str, torch.Tensor]:
    """Parameters, buffers and the optimiser's state of the newest checkpoint."""
    content = torch.load(latest_checkpoint(folder), weights_only=True)
    states = content["optimizer_states"][0]["state"]
    moments = {f"{index}/{name}": torch.as_tensor(value) for index, state in states.items() for name, value in state.items()}
    return content["state_dict"] | moments


def assert_same(one: Path, other: Path) -> None:
    """The runs have ended with the same bits and rows."""
    expected, got = bits(one), bits(other)
    assert expected.keys() == got.keys() and [name for name in expected if not torch.equal(expected[name], got[name])] == []
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for its time: a run here is short."""
    for name in ("STATUS_INTERVAL", "PRIOR_INTERVAL"):
        monkeypatch.setattr(f"threefusion.callback.live.{name}", 0.0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody watches."""
    out = tmp_path_factory.mktemp("plain") / "run"
    assert run(Path(__file__).parents[1] / "tiny.yaml", out) == 0
    return out


def test_a_run_that_is_watched_paused_saved_and_exported_ends_as_one_that_is_not(tiny, tmp_path, plain) -> None:
    def script(call: int) -> list:
        pressed = {5: "pause", 12: "resume", 14: "save", 15: "export"}
        channel = [Chose(CHANNELS[call % 5])] if call > 1 else []
        came = [orbiting(call, 1)] if call == 3 else [Left(1)] if call == 9 else []
        return [orbiting(call), *came, *channel, *([Pressed(pressed[call])] if call in pressed else [])]

    seen = played(script)
    assert (
        run(tiny, tmp_path / "run", *WATCHED, "exporter={type: mesh, resolution: 16, texture_size: 64, views: 1, view_size: 16}")
        == 0
    )
    assert_same(plain, tmp_path / "run")
    assert {client for client, _ in seen["paint"]} == {0, 1}
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for _, image in seen["paint"])
    assert len(seen["take"]) > 12 + 5 and seen["close"]  # the pause has asked again
    assert seen["prepare"][0][1] == CHANNELS
    notes = [status.note for status in seen["tell"]]
    assert any(status.paused for status in seen["tell"]) and "exported" in notes


def test_a_setting_that_is_changed_is_kept_and_a_resume_repeats_it(tiny, tmp_path) -> None:
    turned = {4: [Turned("loss.sparsity.weight", 0.5), Turned("optimizer.schedule", 2.0), Turned("guidance.t_max", 0.5)]}
    bad = {5: [Turned("guidance.t_max", 0.001), Turned("guidance.guidance_scale", float("nan")), Turned("seed", 1.0)]}
    played(lambda call: [orbiting(call), *(turned | bad).get(call, [])])
    assert run(tiny, tmp_path / "on", *WATCHED) == 0
    kept = yaml.safe_load((tmp_path / "on/config.yaml").read_text())
    assert kept["loss"]["sparsity"]["weight"] == {"knots": {0: 0.01, 2: 0.01, 3: 0.5}}
    assert kept["optimizer"]["schedule"] == {"knots": {0: 1.0, 2: 1.0, 3: 2.0}}
    assert kept["guidance"]["t_max"] == {"knots": {0: 0.98, 2: 0.98, 3: 0.5}} and kept["guidance"]["guidance_scale"] == 1

    played(lambda call: [orbiting(call), *turned.get(call, []), *([Pressed("stop")] if call == 7 else [])])
    assert run(tiny, tmp_path / "stopped", *WATCHED) == 130
    assert latest_checkpoint(tmp_path / "stopped").name == "step-000007.ckpt"
    heard: list[Message] = []
    with listening(heard.append):
        assert resume(tmp_path / "stopped", "viewer=null") == 0
    notes = " ".join(message.text for message in heard if isinstance(message, Noted))
    assert "viewer.type was" in notes and "weight was" not in notes  # the checkpoint knows the change
    assert_same(tmp_path / "on", tmp_path / "stopped")

    # from before the change: its steps are repeated too
    played(lambda call: [])
    assert run(tiny, tmp_path / "again", *WATCHED, "trainer.max_steps=3") == 0
    (tmp_path / "again/config.yaml").write_bytes((tmp_path / "on/config.yaml").read_bytes())
    assert resume(tmp_path / "again") == 0
    assert_same(tmp_path / "on", tmp_path / "again")


@pytest.mark.parametrize("fails_in", ["prepare", "take", "paint", "explain"])
def test_a_viewer_that_fails_is_named_once_and_the_run_goes_on(tiny, tmp_path, plain, fails_in) -> None:
    played(
        lambda call: [orbiting(call), *([Pressed("pause")] if call == 2 else [])] if call < 90 else [Pressed("resume")], fails_in
    )
    heard: list[Message] = []
    with listening(heard.append):
        assert run(tiny, tmp_path / "run", *WATCHED) == 0
    assert_same(plain, tmp_path / "run")
    assert [message.text for message in heard if isinstance(message, Warned)] == [
        f"the viewer has failed, the training goes on without it: RuntimeError: broken {fails_in}"
    ]


def test_time_at_the_viewer_is_no_time_of_the_training(tiny, tmp_path) -> None:
    from threefusion.run.folder import read_report

    def script(call: int) -> list:
        import time

        time.sleep(0.2 if 1 < call < 8 else 0)
        return [Pressed("pause")] if call == 2 else [Pressed("resume")] if call == 7 else []

    played(script)
    assert run(tiny, tmp_path / "slow", *WATCHED, "output.image_interval=1000000") == 0
    report = read_report(tmp_path / "slow")
    assert abs(sum(report["phase_seconds"].values()) - report["seconds"]) < 0.1
    import csv

    assert len(list(csv.DictReader((tmp_path / "slow/metrics.csv").open()))) == 12


def play_for_two() -> None:
    """People pause a run of two processes for a while, change a setting, and export."""
    pressed = {3: "pause", 9: "resume", 10: "export", 11: "save"}
    played(
        lambda call: [
            orbiting(call),
            *([Pressed(pressed[call])] if call in pressed else []),
            *([Turned("loss.sparsity.weight", 0.5)] if call == 5 else []),
        ]
    )


@pytest.mark.slow
def test_of_two_processes_the_first_serves_and_both_do_what_people_want(tiny, tmp_path) -> None:
    knots = "{knots: {0: 0.01, 1: 0.01, 2: 0.5}}"
    words = ["train", "--config", tiny, "trainer.max_steps=6", "--out"]
    ended = ranks(2, *words, tmp_path / "plain", f"loss.sparsity.weight={knots}")
    ended += ranks(2, *words, tmp_path / "watched", *WATCHED, before=play_for_two)
    assert [process.code for process in ended] == [0] * 4, [process.errors for process in ended]
    assert yaml.safe_load((tmp_path / "watched/config.yaml").read_text())["loss"]["sparsity"]["weight"] == yaml.safe_load(knots)
    assert_same(tmp_path / "plain", tmp_path / "watched")
    assert sum("viewer: scripted://" in process.errors for process in ended) == 1


def test_stages_follow_each_other_on_the_same_page(tiny, tmp_path) -> None:
    stages = "stages=[{steps: 2}, {steps: 3}]"
    assert run(tiny, tmp_path / "plain", stages) == 0
    seen = played(lambda call: [orbiting(call)])
    assert run(tiny, tmp_path / "watched", stages, *WATCHED) == 0
    assert [len(seen[name]) for name in ("open", "prepare", "close")] == [1, 2, 1] and len(seen["paint"]) > 3
    folders = sorted(path.relative_to(tmp_path / "plain") for path in (tmp_path / "plain" / "stages").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert_same(tmp_path / "plain" / folder, tmp_path / "watched" / folder)
