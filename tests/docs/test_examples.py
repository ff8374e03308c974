"""Examples in docstrings are run, and the operations have one each."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import threefusion

ROOT = Path(threefusion.__file__).parents[1]
OPERATIONS = ("composite", "grid", "march", "rasterize", "relu_network")


def modules_with_examples():
    files = sorted((ROOT / "threefusion").rglob("*.py"))
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if ">>> " in file.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_give_the_output_shown(name):
    results = doctest.testmod(import_module(name))
    assert results.attempted and not results.failed


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_an_example(name):
    module = import_module(f"threefusion.ops.{name}")
    own = [value for value in vars(module).values() if inspect.isfunction(value) and value.__module__ == module.__name__]
    public = [function for function in own if not function.__name__.startswith("_")]
    text = "".join(function.__doc__ for function in public)
    assert public and all(f"{function.__name__}(" in text.partition(">>>")[2] for function in public)
