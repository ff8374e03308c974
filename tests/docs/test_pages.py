"""What a page says to do, done."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, blocks
from workspace import Workspace, alone, furnish

from threefusion.cli import describe

RUNNABLE = [page for page in PAGES if any(block.language in ("bash", "python", "yaml") for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_does_what_it_says(
    page: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    with alone():
        workspace = Workspace(finished_run)
        for block in blocks(page):
            try:
                workspace.run(block)
            except Exception as error:
                raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error
        assert describe.problems() == []
