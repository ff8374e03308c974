"""Loggers with the real clients, offline: what they wrote is read back from their files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from forked import Ended, command

from threefusion.config.sections import TensorboardConfig, WandbConfig
from threefusion.errors import UserError
from threefusion.run.loggers import tensorboard_logger
from threefusion.run.wandb_run import start_wandb

BLOCK = 32768


def records(path: Path) -> list:
    """The records of a W&B run file: LevelDB's log format (blocks of 32 KiB, 7-byte headers) after a 7-byte file header."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts, found = path.read_bytes(), 7, [], []
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or last part
            record = Record()
            record.ParseFromString(b"".join(parts))
            found.append(record)
            parts = []
    return found


def contents(path: Path) -> tuple[str, dict, dict, dict]:
    """Id, history by key, config and summary of a W&B run file."""
    identity, history, config, summary = "", {}, {}, {}
    for record in records(path):
        identity = record.run.run_id or identity
        for item in record.history.item:
            history.setdefault("/".join(item.nested_key) or item.key, []).append(json.loads(item.value_json))
        config |= {item.key: json.loads(item.value_json) for item in (*record.run.config.update, *record.config.update)}
        summary |= {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update}
    return identity, history, config, summary


def train(*words: str, **variables: str) -> Ended:
    """A training in a process of its own."""
    return command("train", *words, **variables)


STAGES = "stages=[{steps: 4, guidance: {guidance_scale: 2}}, {steps: 8}]"
MESH = ("exporter=mesh", "exporter.resolution=24", "exporter.texture_size=64", "prompt.text=a red mushroom")


@pytest.mark.slow
def test_wandb_holds_one_run_with_scalars_images_results_and_config(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    out = tmp_path / "run"
    words = ["--config", str(tiny), "--out", str(out), "logger.type=wandb", *MESH, STAGES]
    words.append("optimizer.groups={geometry.encoding: 0.002}")
    done = train(*words, WANDB_MODE="offline", WANDB_PROJECT="mine")
    assert done.code == 0 and "anonymous" not in done.errors, done.errors
    (file,) = out.glob("wandb/offline-run-*/run-*.wandb")
    identity, history, config, summary = contents(file)
    assert next(record.run.project for record in records(file) if record.run.project) == "mine"
    assert len(history["loss"]) == 12 and "epoch" not in history
    # the stages follow each other
    steps = [step for step in history["trainer/global_step"] if step]
    assert max(steps) == 12 and set(range(1, 12)) <= set(steps)
    assert set(history["lr/other"]) == {0.01} and set(history["lr/geometry.encoding"]) == {0.002}
    assert all(history[f"milliseconds/{phase}"] for phase in ("render", "guidance", "backward", "other"))
    assert any(key.startswith("views") for key in history) and any(key.startswith("turntable") for key in history)
    assert any(str(value).endswith("glb") for key, values in history.items() if key.startswith("mesh") for value in values)
    # a mapping that W&B can filter, group and sweep
    assert config["guidance"]["type"] == "sds" and config["camera"]["height"] == 12
    report = json.loads((out / "report.json").read_text())
    assert summary["cost/steps"] == 12 and summary["score/silhouette_iou"] == report["metrics"]["silhouette_iou"]
    done = train("--resume", str(out), "stages.stage-2.steps=9", WANDB_MODE="offline")
    assert done.code == 0, done.errors
    assert {contents(path)[0] for path in out.glob("wandb/offline-run-*/run-*.wandb")} == {identity}


@pytest.mark.slow
def test_wandb_can_be_disabled_by_the_environment_and_without_a_login_nothing_starts(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    words = ["--config", str(tiny), "logger.type=wandb", "trainer.max_steps=1"]
    done = train(*words, "--out", str(tmp_path / "quiet"), WANDB_MODE="disabled")
    assert done.code == 0 and not list((tmp_path / "quiet").glob("wandb/*")), done.errors
    done = train(*words, "--out", str(tmp_path / "refused"), HOME=str(tmp_path))
    line = "error: logger: W&B: No API key configured. Use `wandb login` to log in. Run `wandb login`, or set logger.mode=offline"
    assert (done.code, done.errors.strip().splitlines()) == (2, [line])
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("variables", "cfg", "expected"),
    [
        ({}, WandbConfig(), {"project": "threefusion", "name": "run", "mode": None}),
        ({"WANDB_PROJECT": "mine", "WANDB_NAME": "x", "WANDB_MODE": "offline"}, WandbConfig(), {"project": None, "name": None}),
        (
            {"WANDB_PROJECT": "mine", "WANDB_MODE": "offline"},
            WandbConfig(project="a", mode="online"),
            {"project": "a", "mode": "online"},
        ),
    ],
)
def test_settings_come_before_the_clients_variables_and_those_before_defaults(monkeypatch, tmp_path, variables, cfg, expected):
    wandb = pytest.importorskip("wandb")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = []

    def init(**options):
        given.append(options)
        raise wandb.errors.CommError("no network\nmore")

    monkeypatch.setattr(wandb, "init", init)
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"^logger: W&B: no network\. Run `wandb login`"):
        start_wandb(cfg, tmp_path / "run", {})
    assert {name: given[0].get(name) for name in expected} == expected and given[0]["resume"] == "allow"


@pytest.mark.slow
def test_tensorboard_holds_scalars_images_settings_results_and_the_mesh(tiny: Path, tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    out = tmp_path / "run"
    done = train("--config", str(tiny), "--out", str(out), "logger=tensorboard", *MESH, STAGES)
    assert done.code == 0, done.errors
    tags: dict[str, list[int]] = {}
    for file in sorted((out / "tensorboard").glob("events.*")):
        data, place = file.read_bytes(), 0
        while place < len(data):  # TFRecord: length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[place : place + 8])
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
    assert tags["loss"] == list(range(12)) and "epoch" not in tags
    assert set(tags["views"]) == {4, 10, 12}
    assert {"lr", "milliseconds/render", "score/silhouette_iou", "cost/seconds"} <= tags.keys()
    assert any(tag.startswith("_hparams_") for tag in tags) and any(tag.startswith("mesh") for tag in tags)


def test_a_stage_that_begins_in_the_same_second_replaces_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tensorboardX names files by the second and opens them for writing."""
    from tensorboardX import event_file_writer

    monkeypatch.setattr(event_file_writer.time, "time", lambda: 1_700_000_000.5)
    (logger,) = tensorboard_logger(TensorboardConfig(), tmp_path, "seed: 1")
    for step in range(2):
        logger.log_metrics({"loss": 1.0}, step)
        logger.finalize("success")
    logger.close(failed=False)
    written = b"".join(file.read_bytes() for file in (tmp_path / "tensorboard").glob("events.*"))
    assert written.count(b"loss") == 2
