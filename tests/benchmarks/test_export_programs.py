"""Pictures of exported files in other programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.export_programs import specimen
from benchmarks.export_programs.__main__ import COLORED, HERE, OUTLINE, kept
from benchmarks.export_programs.specimen import agreement, reference, write_specimen

MODULES = os.environ.get("THREEFUSION_THREE", "")


@pytest.mark.parametrize("textured", [True, False])
def test_mirrored_turned_and_recolored_pictures_are_told_apart(textured):
    right = reference(textured)
    assert agreement(right, right, True) == agreement(0.7 * right + 0.3 * (right == 1), right, True) == 1
    for wrong in (right[:, ::-1], right[::-1], right.transpose(1, 0, 2), right[..., ::-1]):
        assert agreement(wrong, right, True) < COLORED
    for wrong in (right[:, ::-1], right[::-1], right.transpose(1, 0, 2)):
        assert agreement(wrong, right, False) < OUTLINE


@pytest.mark.skipif(
    not MODULES or shutil.which("node") is None or shutil.which("chromium") is None,
    reason="needs node, chromium, and THREEFUSION_THREE naming a folder with three, esbuild and puppeteer-core of npm",
)
def test_three_js_shows_every_file_upright_from_the_front_and_unmirrored(tmp_path):
    pytest.importorskip("lib3mf")
    pytest.importorskip("pxr")
    folder, out = tmp_path / "files", tmp_path / "out"
    out.mkdir()
    files = [path.relative_to(folder).as_posix() for path in write_specimen(folder) if path.suffix not in (".mtl", ".png")]
    settings = {"files": files, "size": specimen.SIZE, "half": specimen.HALF, "height": specimen.HEIGHT, "from": specimen.FROM}
    text = json.dumps(settings | {"chromium": shutil.which("chromium")})
    environment = os.environ | {"NODE_PATH": str(Path(MODULES, "node_modules").absolute())}
    subprocess.run(["node", str(HERE / "three.mjs"), str(folder), str(out), text], check=True, env=environment)
    facts = json.loads((out / "facts.json").read_text())["files"]
    cells = {name: kept(out / f"{name.replace('/', '-')}.png", name, facts[name]) for name in files}
    textured, colored = "texture, normals; 0.3", "vertex colours, normals; 0.3"
    assert cells == {
        "model.glb": textured,
        "model.web.glb": textured,
        "model.obj": textured,
        "model.usdz": textured,
        "model.ply": colored,
        "model.stl": "shape, normals; 300",
        "model.3mf": "vertex colours; 300",
        "vertex/model.glb": colored,
        "vertex/model.web.glb": colored,
        "vertex/model.obj": colored,
        # its loader ignores what a material reads of a mesh
        "vertex/model.usdz": "shape, normals; 0.3",
    }
    assert np.asarray(Image.open(out / "model.glb.png")).shape[:2] == (specimen.SIZE, specimen.SIZE)
