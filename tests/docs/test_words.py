"""Names and commands in running text are those of the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, prose

from threefusion.cli import describe
from threefusion.config.run import SECTIONS
from threefusion.guidance.prior.models import MODELS, download_command
from threefusion.registry import KINDS

SETTING = re.compile(rf"`((?:{'|'.join([*KINDS, 'output'])})(?:\.[a-z_0-9]+)+)\b")
OLD_KEYS = re.compile(r"^\|[^|]*\|", re.MULTILINE)
"""The first column of a table, on the page whose tables lead from another toolkit's keys to ours."""


@cache
def fields(kind: str) -> dict[str, str | None]:
    """The settings of all components of a kind, with the kind of component that each holds."""
    if kind in SECTIONS:
        return {field["name"]: None for field in describe.describe_section(kind)}
    found = [field for component in describe.components(kind) for field in describe.describe(kind, component["name"])["fields"]]
    return {field["name"]: field["type"] if field["type"] in KINDS else None for field in found}


def unknown(text: str) -> list[str]:
    """The settings named in a text that no component has; a loss's first part is its name."""
    wrong = []
    for name in SETTING.findall(text):
        kind, *parts = name.split(".")
        if kind == "loss":
            parts = parts[1:]
        for part in parts:
            if part not in fields(kind):
                wrong.append(name)
                break
            if fields(kind)[part] is None:
                break
            kind = fields(kind)[part]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page: Path) -> None:
    text = prose(page)
    assert unknown(OLD_KEYS.sub("|", text) if page.name == "from-threestudio.md" else text) == []


def test_a_setting_that_does_not_exist_is_found() -> None:
    text = "`camera.hight`, `camera.height`, `guidance.prior.modl`, `guidance.prior.model=PATH`, `optimizer.groups.geometry`"
    assert unknown(text) == ["camera.hight", "guidance.prior.modl"]


@pytest.mark.parametrize("model", ["stable-diffusion-2-1-base", "deepfloyd-if-xl"])
def test_the_commands_that_get_a_model_are_those_of_doctor(model: str) -> None:
    page = (ROOT / "docs" / "real-models.md").read_text(encoding="utf-8")
    assert download_command(MODELS[model].sources[0], f"models/{model}") + "\n" in page
