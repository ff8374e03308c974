"""W&B by name, offline, with the real client: what it wrote is read back from its run file."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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


@pytest.mark.slow
def test_wandb_offline_holds_scalars_images_video_and_config(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    out = tmp_path / "run"
    command = [sys.executable, "launch.py", "train", "--config", str(tiny), "--out", str(out), "exporter=mesh"]
    command += ["logger.type=wandb", "logger.mode=offline", "logger.project=test", "prompt.text=a blue thing"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert (out / "turntable.mp4").exists(), done.stderr
    (file,) = out.glob("wandb/offline-run-*/run-*.wandb")
    history, config = {}, ""
    for record in records(file):
        for item in record.history.item:
            history.setdefault("/".join(item.nested_key) or item.key, []).append(item.value_json)
        config += "".join(item.value_json for item in record.config.update) + "".join(
            item.value_json for item in record.run.config.update
        )
    assert len(history.get("loss", ())) == 12, (sorted(history), done.stdout, done.stderr)
    assert "a blue thing" in config
    assert any(key.startswith("views") for key in history)
    assert any(key.startswith("turntable") for key in history)
    assert (out / "metrics.csv").exists()
