"""The live page of a real training in headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MODULES = os.environ.get("THREEFUSION_THREE", "")
CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not MODULES or shutil.which("node") is None or CHROMIUM is None,
        reason="needs node, chromium, and THREEFUSION_THREE naming a folder with puppeteer-core of npm",
    ),
]


def test_a_training_is_orbited_paused_changed_exported_and_stopped(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("viser")
    out = tmp_path / "run"
    words = ["--out", out, "--view", "viewer.port=0", "viewer.resolution=128", "trainer.max_steps=1000000"]
    words += [
        "prompt.text=a *red* <b>ball</b>",
        "exporter={type: mesh, resolution: 24, texture_size: 64, views: 2, view_size: 16}",
    ]
    words += ["output.image_interval=100000", "output.checkpoint_interval=100000", "--anyway"]
    line = [sys.executable, ROOT / "launch.py", "train", "--config", tiny, *words]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as training:
        try:
            link = next(found for found in training.stderr if found.startswith("viewer: ")).split()[1]
            command = ["node", Path(__file__).parent / "browser.mjs", link, tmp_path, CHROMIUM]
            variables = os.environ | {"NODE_PATH": str(Path(MODULES, "node_modules").absolute())}
            seen = json.loads(subprocess.run(command, check=True, env=variables, stdout=subprocess.PIPE).stdout)
            training.communicate(timeout=120)
        finally:
            training.kill()
    assert training.returncode == 130
    assert (seen["troubles"], seen["foreign"]) == ([], [])
    assert seen["paused"] == seen["still"] and seen["charts"] >= 4 and seen["pictures"] >= 4
    red, green, blue = seen["colour"]
    assert red > green and red > blue
    assert (out / "mesh/model.glb").is_file() and seen["mesh"] != [255, 255, 255]
    (first, old), (changed, new) = list(
        yaml.safe_load((out / "config.yaml").read_text())["guidance"]["guidance_scale"]["knots"].items()
    )[-2:]
    assert (old, new) == (1.0, 1.5) and changed == first + 1 == seen["still"]
