"""Captions, held-out pairs, parsing of prompts."""

from math import radians

import pytest
import torch

from threefusion.toyworld.captions import find_class, find_color, find_object, words
from threefusion.toyworld.catalogue import CLASSES, colored
from threefusion.toyworld.palette import COLORS
from training.captions import HELD_OUT, caption, held_out, known_words, view_word
from training.data import TRAINING_COLORS


@pytest.mark.parametrize(
    ("azimuth", "elevation", "word"),
    [
        (0, 10, "front"),
        (44, 10, "front"),
        (-46, 10, "side"),
        (100, 59, "side"),
        (-136, 0, "back"),
        (180, 0, "back"),
        (0, 61, "overhead"),
    ],
)
def test_view_words_follow_the_angles(azimuth, elevation, word):
    assert view_word(radians(azimuth), radians(elevation)) == word


def test_held_out_pairs_are_listed_and_never_trained():
    listed = {colored(name, color) for name in CLASSES for color in COLORS if held_out(name, color)}
    assert set(HELD_OUT) == listed
    assert 0.15 < len(HELD_OUT) / (len(CLASSES) * len(COLORS)) < 0.17
    trained = {colored(name, color) for name, colors in TRAINING_COLORS.items() for color in colors}
    assert not trained & listed
    # every class and every colour is trained in some pair, and held out in some pair
    assert {find_class(pair) for pair in HELD_OUT} == set(CLASSES)
    assert {find_color(pair) for pair in HELD_OUT} == set(COLORS)


def test_captions_match_view_dependent_prompts():
    generator = torch.Generator().manual_seed(0)
    said = [caption("car", "blue", "side", generator) for _ in range(600)]
    assert said.count("a blue car, side view") > 150
    assert 30 < said.count("") < 100
    assert any(text.startswith("a DSLR photo of a blue car") for text in said)
    assert "a car, side view" in said
    assert all("blue" not in caption("car", None, "side", generator) for _ in range(100))
    assert caption("airplane", None, "back", torch.Generator().manual_seed(1)).startswith(
        ("an airplane", "a plane", "the", "air", "a ")
    )


def test_captions_use_the_vocabulary_and_one_unknown_word():
    generator = torch.Generator().manual_seed(0)
    used = {w for name in CLASSES for _ in range(60) for w in words(caption(name, "red", "front", generator))}
    assert used - set(known_words()) == {"wonderful"}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a blue car", "blue car"),
        ("A DSLR photo of an ORANGE ice cream cone, side view", "orange ice cream cone"),
        ("a gray couch", "grey sofa"),
        ("two red chairs", "red chair"),
        ("a snowman with a red scarf", "snowman with a red scarf"),
        ("a snowman with a scarf, green", "snowman with a green scarf"),
        ("a red snowman", "red snowman"),
        ("a pink rabbit", "pink bunny"),
        ("a red bunny on a stack of pancakes, front view", "red bunny on pancakes"),
        ("a mug on a table", None),
        ("a car", None),
        ("a blue dragon", None),
        ("a blue carpet", None),
    ],
)
def test_prompts_are_parsed(prompt, expected):
    found = find_object(prompt)
    assert (str(found) if found else None) == expected


def test_classes_are_found_without_colours():
    assert find_class("an ice cream cone") == "ice cream cone"
    assert find_class("nothing here") is None
