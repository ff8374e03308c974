"""Words of a prompt; no torch here, so that a prompt is checked before anything heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

NEAR_SYNONYMS = {
    "airplane": "aeroplane aircraft airliner jet",
    "ball": "football globe marble orb",
    "boat": "canoe ferry kayak ship yacht",
    "bunny": "hare",
    "cactus": "cacti succulent",
    "car": "auto automobile bus cab coupe jeep limousine lorry sedan suv taxi truck van vehicle",
    "chair": "armchair seat stool throne",
    "cone": "pyramid",
    "cube": "block box brick crate dice die",
    "cylinder": "barrel can drum pipe tube",
    "donut": "bagel ring torus",
    "duck": "drake duckling goose mallard",
    "house": "building cabin cottage home hut villa",
    "ice cream": "gelato sorbet sundae",
    "lamp": "lantern light",
    "mug": "beaker tankard",
    "mushroom": "fungus toadstool",
    "robot": "android cyborg droid",
    "rocket": "missile spacecraft spaceship",
    "sofa": "bench loveseat settee",
    "table": "counter desk",
    "teapot": "kettle",
    "tree": "fir oak pine spruce",
    "black": "ebony",
    "blue": "azure cobalt navy",
    "brown": "beige bronze chocolate tan",
    "cyan": "aqua teal",
    "green": "emerald lime olive",
    "grey": "silver",
    "orange": "amber tangerine",
    "pink": "rose salmon",
    "purple": "indigo lavender lilac magenta",
    "red": "crimson maroon ruby scarlet",
    "white": "ivory",
    "yellow": "gold golden lemon",
}
"""Words that people write, by the word of a small vocabulary that comes close."""


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


def near_word(word: str, known: Collection[str]) -> str | None:
    """The nearest of the known words: a near synonym, or one that is spelt almost the same.

    >>> near_word("automobiles", ["car", "cart"]), near_word("mushrom", ["mushroom"]), near_word("dragon", ["car"])
    ('car', 'mushroom', None)
    """
    near = [name for name, others in NEAR_SYNONYMS.items() if {word, word.removesuffix("s")} & set(others.split())]
    return next((name for name in near + get_close_matches(word, known, 1, 0.8) if name in known), None)
