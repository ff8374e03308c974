"""Words of a prompt; no torch here, so that a prompt is checked before anything heavy is loaded."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text.

    >>> words("A red-hot Car, 2 wheels")
    ['a', 'red', 'hot', 'car', '2', 'wheels']
    """
    return re.findall(r"[a-z0-9]+", text.lower())


def contains(text: str, phrase: str) -> bool:
    """Whether `phrase` occurs in `text` as whole words, in the singular or with an s.

    >>> contains("two ice cream cones", "ice cream cone"), contains("a balloon", "ball")
    (True, False)
    """
    padded, wanted = f" {' '.join(words(text))} ", " ".join(words(phrase))
    return f" {wanted} " in padded or f" {wanted}s " in padded
