"""What the priors are told about a picture, and how a prompt is understood."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import degrees

import torch

from threefusion.toyworld.catalogue import CLASSES, COMPOSITIONS, SYNONYMS, colored
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.palette import COLOR_SYNONYMS, COLORS

VIEW_WORDS = ("front", "side", "back", "overhead")
OTHER_WORDS = ("a", "an", "the", "of", "view", "photo", "dslr", "picture", "render", "rendering", "3d", "toy", "model", "small")
"""Words that appear in training captions besides objects, colours and views."""

NOUNS = {name: name for name in CLASSES} | SYNONYMS
COLOR_WORDS = {color: color for color in COLORS} | COLOR_SYNONYMS


def view_word(azimuth: float, elevation: float) -> str:
    """The view's word for angles in radians: overhead above 60°, else front within 45°, back beyond 135°, side between."""
    if degrees(elevation) > 60:
        return "overhead"
    turn = abs(degrees(azimuth))
    return "front" if turn < 45 else "back" if turn > 135 else "side"


def held_out(name: str, color: str) -> bool:
    """Whether a (class, colour) pair is kept from training: along the diagonals of the table, 1 in 7 and 1 in 4 compositions."""
    every = 4 if name in COMPOSITIONS else 7
    return (list(CLASSES).index(name) + 3 * list(COLORS).index(color)) % every == 3


HELD_OUT = tuple(colored(name, color) for name in CLASSES for color in COLORS if held_out(name, color))
"""Every held-out pair as a caption would name it."""


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text."""
    return re.findall(r"[a-z0-9]+", text.lower())


def known_words() -> list[str]:
    """Every word that occurs in the training captions."""
    phrases = [*NOUNS, *COLOR_WORDS, *VIEW_WORDS, *OTHER_WORDS]
    return list(dict.fromkeys(word for phrase in phrases for word in words(phrase)))


def _find(prompt: str, phrases: dict[str, str]) -> str | None:
    """The meaning of the longest phrase that occurs in the prompt as whole words, plural or not."""
    padded = f" {' '.join(words(prompt))} "
    for phrase in sorted(phrases, key=len, reverse=True):
        if f" {phrase} " in padded or f" {phrase}s " in padded:
            return phrases[phrase]
    return None


def find_class(prompt: str) -> str | None:
    """The toy class that a prompt names, if any; colours may stand inside: "a snowman with a red scarf"."""
    bare = " ".join(word for word in words(prompt) if word not in COLOR_WORDS)
    return _find(bare, NOUNS)


def find_color(prompt: str) -> str | None:
    """The toy colour that a prompt names, if any."""
    return _find(prompt, COLOR_WORDS)


def find_object(prompt: str) -> ToyObject | None:
    """The object that a prompt such as "a blue car" names; None unless it names both a class and a colour."""
    name, color = find_class(prompt), find_color(prompt)
    return ToyObject(name, color) if name and color else None


def with_article(thing: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def describe(name: str, color: str | None = None, view: str | None = None) -> str:
    """The plain caption of a class: "a red bunny, front view"; colour and view may be left out."""
    return with_article(colored(name, color) if color else name) + (f", {view} view" if view else "")


def pair_captions(palette: Sequence[str] = tuple(COLORS)) -> list[str]:
    """Every class in every colour, colours varying fastest."""
    return [describe(name, color) for name in CLASSES for color in palette]


def unknown_words(prompt: str) -> list[str]:
    """Words of a prompt that no training caption holds."""
    known = set(known_words())
    return [word for word in words(prompt) if word not in known and word.removesuffix("s") not in known]


@dataclass(frozen=True)
class CaptionRates:
    """How often captions leave something out."""

    empty: float = 0.10
    no_view: float = 0.12
    no_color: float = 0.06
    synonym: float = 0.15


def caption(name: str, color: str | None, view: str, generator: torch.Generator, rates: CaptionRates | None = None) -> str:
    """One caption of a picture, as a view-dependent prompt processor writes prompts, with paraphrases.

    A `color` of None (a textureless picture) gives a caption without colour.
    """
    rates = rates or CaptionRates()

    def chance(p: float) -> bool:
        return torch.rand((), generator=generator).item() < p

    if chance(rates.empty):
        return ""
    noun = name
    others = [other for other, meaning in SYNONYMS.items() if meaning == name]
    if others and chance(rates.synonym):
        noun = others[0]
    thing = noun if color is None or chance(rates.no_color) else colored(noun, color)
    phrase = with_article(thing)
    if chance(0.35):
        forms = (
            thing,
            f"the {thing}",
            f"a photo of {phrase}",
            f"a DSLR photo of {phrase}",
            f"a 3d render of {phrase}",
            f"{phrase.partition(' ')[0]} {noun}, {color}" if color and color in thing else thing,
            f"a toy {thing}",
            f"a small {thing}",
            # no vocabulary holds "wonderful", so the token for unknown words is trained too
            f"a wonderful {thing}",
        )
        phrase = forms[int(torch.randint(len(forms), (), generator=generator))]
    return phrase if chance(rates.no_view) else f"{phrase}, {view} view"
