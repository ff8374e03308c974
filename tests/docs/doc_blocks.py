"""The pages and their fenced blocks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted(ROOT.glob("threefusion/bundled/*/README.md")),
]
PROGRAMS = (["python", "launch.py"], ["threefusion"])

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"#\s*([\w./-]+\.(?:py|yaml))\s*\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block is, when its first line is a comment with a path."""
        named = _FILE.match(self.text)
        return named[1] if named else None

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of every call of this program, and of `python` for the examples, in the block."""
        lines = self.text.replace("\\\n", " ").splitlines()
        pieces = [shlex.split(piece, comments=True) for line in lines for piece in line.split("&&")]
        return [found for words in pieces if (found := arguments(words))]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def arguments(words: list[str]) -> list[str]:
    """What follows the program's name; nothing for other programs."""
    for head in PROGRAMS:
        if words[: len(head)] == head:
            return words[len(head) :]
    return words[1:] if words[:1] == ["python"] and words[1:] and words[1].startswith("examples/") else []


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, text[: found.start()].count("\n") + 1, found[1], found[2]) for found in _FENCE.finditer(text)]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings; a repeated one is numbered."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        name = slug(heading)
        found[name] = found.get(name, -1) + 1
        if found[name]:
            found[f"{name}-{found[name]}"] = 0
    return set(found)
