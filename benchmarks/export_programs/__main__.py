"""What other programs keep of exported files: `python -m benchmarks.export_programs --work FOLDER --blender PYTHON …`.

Writes docs/benchmarks/export-programs.md and its picture. Each program has an environment of its own: `pip install bpy==5.0.1`,
`pip install open3d==0.20.0`, `pip install pymeshlab`, and `npm install three esbuild puppeteer-core gltf-validator`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.export_programs import specimen
from benchmarks.export_programs.checks import check_files
from benchmarks.export_programs.specimen import agreement, reference, write_specimen

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE, PICTURE = ROOT / "docs/benchmarks/export-programs.md", ROOT / "docs/images/export-programs.png"
DRAWING = {"three": "three.js", "blender": "Blender", "open3d": "Open3D"}
PROGRAMS = {"blender": "blender.py", "open3d": "open3d_program.py", "pymeshlab": "meshlab.py"}
COLORED, OUTLINE = 0.97, 0.99
"""Least share of pixels with the right colour, or on the right side of the outline; mirrored they are 0.83 and 0.975."""


def main() -> None:
    """Write the files, let every program read them, compare the pictures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the files and pictures; replaced")
    parser.add_argument("--node-modules", type=Path, required=True)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    for name in PROGRAMS:
        parser.add_argument(f"--{name}", required=True, metavar="PYTHON", help=f"a Python that has {name}")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    folder = arguments.work / "files"
    files = [path.relative_to(folder).as_posix() for path in write_specimen(folder)]
    files = [name for name in files if not name.endswith((".mtl", ".png"))]
    facts = {name: run(name, folder, files, arguments) for name in ("three", *PROGRAMS)}
    checks = check_files(folder, arguments.node_modules)
    pictures = {name: judged(arguments.work / name, facts[name]["files"]) for name in DRAWING}
    PAGE.write_text(page(files, facts, pictures, checks), encoding="utf-8")
    montage(files, arguments.work).save(PICTURE)
    wrong = [
        f"{program}: {name}: {cell}" for program, cells in pictures.items() for name, cell in cells.items() if "wrong" in cell
    ]
    print("\n".join(wrong) or "no wrong picture")


def run(name: str, folder: Path, files: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """What a program reports."""
    out = arguments.work / name
    out.mkdir()
    settings = {"files": files, "size": specimen.SIZE, "half": specimen.HALF, "height": specimen.HEIGHT, "from": specimen.FROM}
    text = json.dumps(settings | {"chromium": arguments.chromium})
    command = ["node", str(HERE / "three.mjs")] if name == "three" else [getattr(arguments, name), str(HERE / PROGRAMS[name])]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["NODE_PATH"] = str(arguments.node_modules.absolute())
    subprocess.run([*command, str(folder), str(out), text], check=True, env=environment, stdout=subprocess.DEVNULL)
    return json.loads((out / "facts.json").read_text())


def judged(pictures: Path, facts: dict[str, Any]) -> dict[str, str]:
    """What a program keeps of each file that it was given."""
    return {name: kept(pictures / f"{name.replace('/', '-')}.png", name, found) for name, found in facts.items()}


def kept(path: Path, name: str, found: dict[str, Any]) -> str:
    """One cell of the table."""
    if "error" in found:
        return "not read"
    if not all(np.isfinite(np.array(found["size"], float))):
        return "wrong positions"
    picture = np.asarray(Image.open(path).convert("RGB")) / 255
    textured = not name.startswith("vertex/") and name.endswith((".glb", ".obj", ".usdz"))
    expected = reference(textured)
    colored = agreement(picture, expected, True) >= COLORED
    if not colored and agreement(picture, expected, False) < OUTLINE:
        return "**wrong picture**"
    color = ("texture" if textured else "vertex colours") if colored else "shape"
    height = sorted(found["size"])[-1]
    normals = any(entry.lower().startswith("normal") for entry in found["found"])
    return f"{color}{', normals' if normals else ''}; {height:.4g}"


def page(files: list[str], facts: dict[str, Any], pictures: dict[str, dict[str, str]], checks: list[str]) -> str:
    """The page of the documentation."""
    head = " | ".join(f"{title} {facts[name]['version']}" for name, title in DRAWING.items())
    rows = [f"| `{name}` | " + " | ".join(pictures[program].get(name, "–") for program in DRAWING) + " |" for name in files]
    counts = facts["pymeshlab"]["files"]
    closed = [
        f"| `{name}` | {found['boundary_edges']} | {found['non_two_manifold_edges']} | {found['non_two_manifold_vertices']} |"
        for name, found in counts.items()
    ]
    return TEMPLATE.format(
        head=head, rule="|---" * (len(DRAWING) + 1) + "|", rows="\n".join(rows), checks="\n".join(checks),
        meshlab=facts["pymeshlab"]["version"], closed="\n".join(closed), height=specimen.HEIGHT,
    )  # fmt: skip


TEMPLATE = """# Exported files in other programs

Made by `python -m benchmarks.export_programs`. It writes an object with a red front, a blue left side and a green knob on top in
every format, {height} m high and on the floor, lets each program read and draw it, and compares the pictures with its own. A file
whose cell names what is kept is upright, faces the front and is not mirrored.

![A row per program (three.js, Blender, Open3D), a column per file, in the order of the table](../images/export-programs.png)

A cell says whether the texture, vertex colours or only the shape is kept, whether normals are, and the height in the program's
units. "–": the program has no importer. PLY, STL and 3MF have +z up, so three.js shows them turned by −90° about x; Blender and
Open3D need no turn. STL and 3MF are in millimetres.

| file | {head} |
{rule}
{rows}

Open3D is drawn by its ray caster from what it has read, because its own renderer needs a display. In Blender, vertex colours of
PLY and OBJ show once a material reads them.

## Closed surfaces

Counted by PyMeshLab {meshlab}; equal positions of the STL are merged first, as slicers do:

| file | open edges | edges of more than two faces | non-manifold vertices |
|---|---|---|---|
{closed}

## Validators and slicer

| check | result |
|---|---|
{checks}
"""


def montage(files: list[str], work: Path) -> Image.Image:
    """A row per program, a column per file; grey where there is no picture."""
    size = specimen.SIZE
    sheet = Image.new("RGB", (size * len(files), size * len(DRAWING)), (230, 230, 230))
    for row, program in enumerate(DRAWING):
        for column, name in enumerate(files):
            path = work / program / f"{name.replace('/', '-')}.png"
            if path.exists():
                sheet.paste(Image.open(path).convert("RGB"), (column * size, row * size))
    return sheet


if __name__ == "__main__":
    main()
