"""The tests of pages see every command, and notice what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, Block, blocks, slug
from workspace import Workspace, alone, furnish

from threefusion.errors import UserError

WRONG = {
    "an unknown command": ("bash", "python launch.py trian --config configs/quickstart.yaml"),
    "an unknown setting": ("bash", "python launch.py check configs/quickstart.yaml camera.hight=8"),
    "a training with a wrong logger": ("bash", "python launch.py train --config configs/quickstart.yaml logger.type=wandbb"),
    "a training with a missing config": ("bash", "python launch.py train --config configs/missing.yaml"),
    "a config that names no component": ("yaml", "guidance: {type: sdss}"),
    "a file that says no more than a fragment": ("yaml", "# configs/new.yaml\nseed: 1\n"),
    "a component that does not exist": ("bash", "threefusion describe loss sparseness"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_block_is_noticed(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    language, text = WRONG[what]
    with alone(), pytest.raises((UserError, AssertionError)):
        Workspace(tmp_path / "no-run").run(Block(tmp_path, 1, language, text))


def test_python_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        Workspace(tmp_path).run(Block(tmp_path, 1, "python", "import threefusion\nthreefusion.nothing_of_this_name\n"))


def test_no_command_is_overlooked() -> None:
    lines = [(block, line) for page in PAGES for block in blocks(page) for line in block.text.splitlines()]
    mentioned = [f"{block}: {line}" for block, line in lines if block.language == "bash" and "launch.py" in line]
    seen = [command for page in PAGES for block in blocks(page) if block.language == "bash" for command in block.commands]
    assert len(seen) >= len(mentioned) > 20


def test_every_block_says_what_it_is() -> None:
    assert [str(block) for page in PAGES for block in blocks(page) if not block.language and "launch.py" in block.text] == []


def test_anchors_are_those_of_github() -> None:
    assert slug("`logger: wandb`, offline") == "logger-wandb-offline"
    assert slug("Coming from [threestudio](x.md)?") == "coming-from-threestudio"
    assert (ROOT / "README.md") in PAGES
