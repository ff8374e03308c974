"""Captions of the toy world, and parsing of prompts that name toy objects."""

from __future__ import annotations

from collections.abc import Sequence

from threefusion.guidance.prior.words import contains, words
from threefusion.toyworld.catalogue import CLASSES, SYNONYMS, colored
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.palette import COLOR_SYNONYMS, COLORS

NOUNS = {name: name for name in CLASSES} | SYNONYMS
COLOR_WORDS = {color: color for color in COLORS} | COLOR_SYNONYMS


def _find(prompt: str, phrases: dict[str, str]) -> str | None:
    """Value of the longest phrase that occurs in the prompt as whole words, singular or plural."""
    return next((phrases[phrase] for phrase in sorted(phrases, key=len, reverse=True) if contains(prompt, phrase)), None)


def find_class(prompt: str) -> str | None:
    """The toy class named in a prompt, if any, ignoring colours: "a snowman with a red scarf"."""
    bare = " ".join(word for word in words(prompt) if word not in COLOR_WORDS)
    return _find(bare, NOUNS)


def find_color(prompt: str) -> str | None:
    """The toy colour named in a prompt, if any."""
    return _find(prompt, COLOR_WORDS)


def find_object(prompt: str) -> ToyObject | None:
    """The object named in a prompt such as "a blue car"; None unless both class and colour are named."""
    name, color = find_class(prompt), find_color(prompt)
    return ToyObject(name, color) if name and color else None


def with_article(noun: str) -> str:
    """The noun phrase with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def describe(name: str, color: str | None = None, view: str | None = None) -> str:
    """Plain caption of a class, "a red bunny, front view", with optional colour and view."""
    return with_article(colored(name, color) if color else name) + (f", {view} view" if view else "")


def pair_captions(palette: Sequence[str] = tuple(COLORS)) -> list[str]:
    """Captions of all classes in all colours, colours varying fastest."""
    return [describe(name, color) for name in CLASSES for color in palette]
