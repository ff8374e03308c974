"""Random captions of training images, and the pairs that are held out."""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees

import torch

from threefusion.guidance.prior.words import words
from threefusion.toyworld.captions import COLOR_WORDS, NOUNS, with_article
from threefusion.toyworld.catalogue import CLASSES, COMPOSITIONS, SYNONYMS, colored
from threefusion.toyworld.palette import COLORS

VIEW_WORDS = ("front", "side", "back", "overhead")
OTHER_WORDS = ("a", "an", "the", "of", "view", "photo", "dslr", "picture", "render", "rendering", "3d", "toy", "model", "small")
"""Words of captions besides objects, colours and views."""


def known_words() -> list[str]:
    """Vocabulary of the captions."""
    phrases = [*NOUNS, *COLOR_WORDS, *VIEW_WORDS, *OTHER_WORDS]
    return list(dict.fromkeys(word for phrase in phrases for word in words(phrase)))


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
