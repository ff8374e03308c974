"""The captions among which a prompt must be found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from threefusion.errors import UserError
from threefusion.toyworld.captions import describe, pair_captions
from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.objects import ToyObject


@dataclass(frozen=True)
class Candidates:
    """Captions, one of them right."""

    texts: list[str]
    right: int


def toy_candidates(prompt: str, thing: ToyObject) -> tuple[Candidates, Candidates]:
    """Every class in every colour, and every class without colour; the prompt itself stands for its own pair in the first."""
    texts = pair_captions()
    right = texts.index(describe(thing.name, thing.color))
    texts[right] = prompt
    return Candidates(texts, right), Candidates([describe(name) for name in CLASSES], list(CLASSES).index(thing.name))


def listed_candidates(prompt: str, captions: list[str]) -> Candidates:
    """The captions of a list, and the prompt if it is not among them; such as differ in case and punctuation only are one."""
    texts: dict[str, str] = {}
    for caption in captions:
        texts.setdefault(_said(caption), caption)
    # to a judge that reads small letters only, a second spelling of the prompt would be a rival that nothing can beat
    texts[_said(prompt)] = prompt
    listed = list(texts.values())
    return Candidates(listed, listed.index(prompt))


def _said(caption: str) -> str:
    """Its words in small letters."""
    return " ".join(re.findall(r"\w+", caption.casefold()))


def read_captions(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        UserError: no such file, or fewer than two captions in it.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--candidates {path}: cannot be read ({error})") from error
    captions = [line for line in lines if line]
    if len(captions) < 2:
        raise UserError(f"--candidates {path}: expected at least two captions, one per line")
    return captions
