"""docs/reference.md is what its generator writes, and says everything."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from doc_blocks import ROOT

from threefusion.cli import describe
from threefusion.config.catalogue import BUILT_IN


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_the_generated_one(generator: ModuleType) -> None:
    committed = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert committed == generator.page(), "run: python docs/generate_reference.py"


def test_every_field_is_there_with_its_sentence(generator: ModuleType) -> None:
    page = generator.page()
    for component in describe.components():
        if component["origin"] == BUILT_IN:
            part = page.partition(f"### {component['kind']} {component['name']}\n")[2].partition("\n##")[0]
            for field in describe.describe(component["kind"], component["name"])["fields"]:
                assert f"`{field['name']}`" in part
                assert field["sentence"]
                assert generator.escaped(field["sentence"]) in part
