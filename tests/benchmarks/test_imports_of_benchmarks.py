"""CI runs few of the benchmarks in full; all of them import what the package has."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "benchmarks").rglob("*.py"))]
OTHER_PROGRAMS = {"bpy", "open3d", "pymeshlab"}
"""Programs that are compared with, in environments of their own."""


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OTHER_PROGRAMS:
            raise
        pytest.skip(str(error))
