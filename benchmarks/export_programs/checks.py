"""Validators of formats and a slicer on exported files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

VALIDATE = Path(__file__).parents[2] / "tests/gltf/validate.js"


def check_files(folder: Path, node_modules: Path) -> list[str]:
    """Rows of a table."""
    rows = [khronos(path, folder, node_modules) for path in sorted(folder.rglob("*.glb"))]
    rows += [usd(path, folder) for path in sorted(folder.rglob("*.usdz"))]
    rows.append(lib3mf_strict(folder / "model.3mf"))
    return rows + [slicer(folder / f"model.{ending}") for ending in ("stl", "3mf")]


def khronos(path: Path, folder: Path, node_modules: Path) -> str:
    """The Khronos validator on a GLB."""
    environment = os.environ | {"NODE_PATH": str(node_modules.absolute())}
    done = subprocess.run(["node", str(VALIDATE), str(path)], env=environment, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    issues = report["issues"]
    counts = f"{issues['numErrors']} errors, {issues['numWarnings']} warnings, {issues['numInfos'] + issues['numHints']} remarks"
    return f"| `{path.relative_to(folder)}`, Khronos validator {report['validatorVersion']} | {counts} |"


def usd(path: Path, folder: Path) -> str:
    """All validators of usd-core on a USDZ."""
    return f"| `{path.relative_to(folder)}`, UsdValidation of usd-core {version('usd-core')} | {len(usd_errors(path))} errors |"


def usd_errors(path: Path) -> list[str]:
    """Every message of every validator."""
    from pxr import Usd, UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    return [f"{error.GetName()}: {error.GetMessage()}" for error in errors]


def lib3mf_strict(path: Path) -> str:
    """The strict reader of lib3mf."""
    import lib3mf

    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    return f"| `{path.name}`, strict reader of lib3mf {version('lib3mf')} | {reader.GetWarningCount()} warnings |"


def slicer(path: Path) -> str:
    """PrusaSlicer with its default printer."""
    program = shutil.which("prusa-slicer")
    if program is None:
        return f"| `{path.name}`, PrusaSlicer | not run |"
    text = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
    name = re.search(r"PrusaSlicer-([\d.]+)", text)[1]
    out = path.with_suffix(path.suffix + ".gcode")
    # half the size: the default bed has 200 mm
    done = subprocess.run([program, "--scale", "0.5", "--export-gcode", "--output", str(out), str(path)], capture_output=True)
    lines = len(out.read_text().splitlines()) if out.exists() else 0
    return f"| `{path.name}`, `prusa-slicer --export-gcode` {name} | exit code {done.returncode}, {lines} lines of G-code |"
