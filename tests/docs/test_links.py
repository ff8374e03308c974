"""Relative links and anchors lead somewhere, and every component is told on its kind's page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, anchors, prose

from threefusion.cli import describe
from threefusion.config.catalogue import BUILT_IN
from threefusion.registry import KINDS

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TOLD_ELSEWHERE = {"encoding": "geometry", "sampler": "renderer", "logger": "logging-and-devices"}


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    found = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            found.append(target)
        elif anchor and anchor not in anchors(file):
            found.append(target)
    return found


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Some title\n[a](missing.md) [b](#some-title) [c](#other) [d](https://example.org)\n")
    assert broken(page) == ["missing.md", "#other"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_named_on_the_page_of_its_kind(kind: str) -> None:
    page = (ROOT / "docs" / f"{TOLD_ELSEWHERE.get(kind, kind)}.md").read_text(encoding="utf-8")
    names = [component["name"] for component in describe.components(kind) if component["origin"] == BUILT_IN]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in index] == []
