"""A benchmark of real trainings and evaluations, killed at a random moment."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["exporter.type=mesh", "exporter.resolution=24", "exporter.texture_size=64", "exporter.max_faces=200", "exporter.views=2"]


def bench(file: Path, out: Path) -> subprocess.Popen:
    """`launch.py bench` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), "bench", "--config", str(file), "--out", str(out), "--jobs", "1"],
        cwd=out.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"THREEFUSION_CACHE": str(out.parent / "cache")},
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_cell_ends_with_the_numbers_of_one_that_was_left_alone(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    settings = {"overrides": f"[{', '.join(SMALL)}, output.checkpoint_interval=1]", "evaluation": "{views: 4}"}
    file = plan_file(variants="{alone: {}, killed: {}}", prompts="[a red ball]", seeds="[0]", **settings)
    out = tmp_path / "out"
    process = bench(file, out)
    while not list(out.glob("cells/killed/*/run/checkpoints/*.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).uniform(0, 3))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = bench(file, out)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    alone, killed = csv.DictReader((out / "table.csv").open(encoding="utf-8"))
    assert (alone["state"], alone["cost.attempts"]) == ("finished", "1")
    assert alone["truth.silhouette_iou"] and alone["fidelity.psnr"]
    for column, value in alone.items():
        if column != "variant" and not column.startswith("cost."):
            assert killed[column] == value, column
