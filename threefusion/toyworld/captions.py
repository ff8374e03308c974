"""Training captions of the bundled priors, and parsing of prompts that name toy objects."""

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
"""Words of training captions besides objects, colours and views."""

NOUNS = {name: name for name in CLASSES} | SYNONYMS
COLOR_WORDS = {color: color for color in COLORS} | COLOR_SYNONYMS


def view_word(azimuth: float, elevation: float) -> str:
    """View word for angles in radians: overhead above 60° elevation, else front within 45° azimuth, back beyond 135°, or side."""
    if degrees(elevation) > 60:
        return "overhead"
    angle = abs(degrees(azimuth))
    return "front" if angle < 45 else "back" if angle > 135 else "side"


def held_out(name: str, color: str) -> bool:
    """Whether a (class, colour) pair is held out of training: 1 in 7, of compositions 1 in 4, along diagonals of the table."""
    every = 4 if name in COMPOSITIONS else 7
    return (list(CLASSES).index(name) + 3 * list(COLORS).index(color)) % every == 3


HELD_OUT = tuple(colored(name, color) for name in CLASSES for color in COLORS if held_out(name, color))
"""All held-out pairs, as named in captions."""


def words(text: str) -> list[str]:
    """Words and numbers of a text, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def known_words() -> list[str]:
    """Vocabulary of the training captions."""
    phrases = [*NOUNS, *COLOR_WORDS, *VIEW_WORDS, *OTHER_WORDS]
    return list(dict.fromkeys(word for phrase in phrases for word in words(phrase)))


def _find(prompt: str, phrases: dict[str, str]) -> str | None:
    """Value of the longest phrase that occurs in the prompt as whole words, singular or plural."""
    padded = f" {' '.join(words(prompt))} "
    for phrase in sorted(phrases, key=len, reverse=True):
        if f" {phrase} " in padded or f" {phrase}s " in padded:
            return phrases[phrase]
    return None


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


def unknown_words(prompt: str) -> list[str]:
    """Words of a prompt outside the vocabulary of the training captions."""
    known = set(known_words())
    return [word for word in words(prompt) if word not in known and word.removesuffix("s") not in known]


@dataclass(frozen=True)
class CaptionRates:
    """Probabilities of omissions and synonyms in captions."""

    empty: float = 0.10
    no_view: float = 0.12
    no_color: float = 0.06
    synonym: float = 0.15


def caption(name: str, color: str | None, view: str, generator: torch.Generator, rates: CaptionRates | None = None) -> str:
    """Random caption of an image, in the style of view-dependent prompts, with paraphrases.

    A `color` of None (a textureless image) gives a caption without colour.
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
    phrase = noun if color is None or chance(rates.no_color) else colored(noun, color)
    text = with_article(phrase)
    if chance(0.35):
        forms = (
            phrase,
            f"the {phrase}",
            f"a photo of {text}",
            f"a DSLR photo of {text}",
            f"a 3d render of {text}",
            f"{text.partition(' ')[0]} {noun}, {color}" if color and color in phrase else phrase,
            f"a toy {phrase}",
            f"a small {phrase}",
            # "wonderful" is in no vocabulary, to train the token of unknown words
            f"a wonderful {phrase}",
        )
        text = forms[int(torch.randint(len(forms), (), generator=generator))]
    return text if chance(rates.no_view) else f"{text}, {view} view"
