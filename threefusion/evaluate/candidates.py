"""Candidate captions for R-precision."""

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
    """Candidate captions."""

    texts: list[str]
    right: int
    """Index of the correct one."""


def toy_candidates(prompt: str, target: ToyObject) -> tuple[Candidates, Candidates]:
    """All classes in all colours, with the prompt in place of its own pair; and all classes without colour."""
    texts = pair_captions()
    right = texts.index(describe(target.name, target.color))
    texts[right] = prompt
    return Candidates(texts, right), Candidates([describe(name) for name in CLASSES], list(CLASSES).index(target.name))


def listed_candidates(prompt: str, captions: list[str]) -> Candidates:
    """The listed captions and the prompt, without duplicates up to case and punctuation."""
    texts: dict[str, str] = {}
    for caption in captions:
        texts.setdefault(_normalize(caption), caption)
    # CLIP tokenizers lower-case: a second spelling of the prompt would tie with it and count against it
    texts[_normalize(prompt)] = prompt
    listed = list(texts.values())
    return Candidates(listed, listed.index(prompt))


def _normalize(caption: str) -> str:
    """Lower case without punctuation."""
    return " ".join(re.findall(r"\w+", caption.casefold()))


def read_captions(path: Path) -> list[str]:
    """Read captions from a file, one per line.

    Raises:
        UserError: the file cannot be read or has fewer than two captions.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--candidates {path}: cannot be read ({error})") from error
    captions = [line for line in lines if line]
    if len(captions) < 2:
        raise UserError(f"--candidates {path}: expected at least two captions, one per line")
    return captions
