"""Two meshes beside each other in headless Chromium: one camera for both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

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


def test_two_meshes_turn_together(tmp_path: Path) -> None:
    pytest.importorskip("viser")
    for name, color in (("red", (255, 0, 0, 255)), ("blue", (0, 0, 255, 255))):
        box = trimesh.creation.box((0.6, 0.8, 1.0))
        box.visual.vertex_colors = color
        box.export(tmp_path / f"{name}.glb")
    line = [sys.executable, ROOT / "launch.py", "view", "red.glb", "blue.glb", "--port", "0"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as page:
        try:
            link = page.stdout.readline().strip()
            assert link.startswith("http://127.0.0.1:")
            command = ["node", Path(__file__).parent / "side_by_side.mjs", link, tmp_path, CHROMIUM]
            variables = os.environ | {"NODE_PATH": str(Path(MODULES, "node_modules").absolute())}
            seen = json.loads(subprocess.run(command, check=True, env=variables, stdout=subprocess.PIPE).stdout)
        finally:
            page.kill()
    assert (seen["troubles"], seen["foreign"]) == ([], [])
    (red, _, less), (few, _, blue) = seen["colour"]
    assert red > less + 50 and blue > few + 50
    picture = np.asarray(Image.open(tmp_path / "side-by-side.png").convert("RGB"), dtype=float)
    left, right = picture[200:560, 100:550], picture[200:560, 700:1150]  # the same shape from the same camera
    assert left.std() > 20 and np.abs(left - right).mean() < 5
