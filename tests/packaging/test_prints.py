"""The package speaks in messages: only its commands and programs print."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "threefusion"
PROGRAMS = {
    "bench/program.py": "its own process, whose streams it redirects",
    "exporter/uv_program.py": "its own process, whose result is its output",
    "machine/labels.py": "a stream round another",
    "machine/process.py": "the end of the process",
    "messages.py": "a listener that has failed while nobody else hears",
}
"""Files outside cli/ that use the streams of the process, and why."""


def speaks(tree: ast.AST) -> bool:
    """Whether code prints, uses the streams of its process, or logs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            return True
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if f"{node.value.id}.{node.attr}" in ("sys.stdout", "sys.stderr", "warnings.warn", "logger.warning"):
                return True
    return False


def test_only_commands_and_programs_print() -> None:
    files = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    found = {name for name, path in files.items() if speaks(ast.parse(path.read_text(encoding="utf-8")))}
    assert {name for name in found if not name.startswith("cli/")} == PROGRAMS.keys()


@pytest.mark.parametrize("code", ["print(1)", "import sys\nsys.stderr.write('x')", "f(file=sys.stdout)", "logger.warning('x')"])
def test_what_prints_is_seen(code: str) -> None:
    assert speaks(ast.parse(code)) and not speaks(ast.parse(f"text = {code!r}\nprinted(1)"))
