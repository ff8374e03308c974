"""Files and functions are as short as CONTRIBUTING.md asks for."""

import ast
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    chain.from_iterable((ROOT / folder).rglob("*.py") for folder in ("threefusion", "training", "benchmarks", "plugins"))
)
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= MOST_LINES_OF_A_FUNCTION} == {}
