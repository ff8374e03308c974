"""Words that contradict a view are left out of its text, and nothing else is."""

from pathlib import Path

import pytest

from threefusion.config import ConfigError, load_config
from threefusion.config.catalogue import settings_class
from threefusion.prompt.settings import without
from threefusion.registry import build

TEXT = "a Smiling cat, happy face, in a hat"


def texts(name="interpolated", **settings):
    return build(settings_class("prompt", name)(text=TEXT, **settings)).view_texts()


@pytest.mark.parametrize("name", ["interpolated", "binned"])
def test_each_view_loses_its_own_words(name):
    front, side, back, overhead = texts(name, drop={"back": ["smiling", "happy face"], "overhead": ["happy face"]})
    assert front == f"{TEXT}, front view" and side == f"{TEXT}, side view"
    assert back == "a cat, in a hat, back view" and overhead == "a Smiling cat, in a hat, overhead view"


@pytest.mark.parametrize(
    ("text", "words", "left"),
    [
        ("a cat with a cattail", ["cat"], "a with a cattail"),
        ("a face", ["a"], "face"),
        ("face, a cat , face", ["face"], "a cat"),
        ("two faces (big)", ["(big)"], "two faces"),
        ("a cat", ["Cat"], "a"),
        ("$HOME {x} \\d", ["{x}"], "$HOME \\d"),
    ],
)
def test_whole_words_are_left_out(text, words, left):
    assert without(text, words) == left


@pytest.mark.parametrize(
    ("drop", "problem"),
    [
        ("{back: [smilng]}", "back names 'smilng', which is not in the text 'a smiling cat'. Did you mean 'smiling'?"),
        ("{back: [mil]}", "back names 'mil', which is not in the text 'a smiling cat'. Did you mean 'smiling'?"),
        ("{back: ['']}", "back names '', which is not in the text 'a smiling cat'"),
        ("{bak: [cat]}", "'bak' is no view. Did you mean 'back'?"),
        ("{back: [cat, a, smiling]}", "back names every word of the text"),
        ("{side: [cat]}", "side has a text of its own, from which nothing is left out"),
    ],
)
def test_what_cannot_be_left_out_is_refused_by_name(tmp_path, monkeypatch, drop, problem):
    monkeypatch.chdir(tmp_path)
    own = "a lamp" if drop.startswith("{side") else "null"
    Path("run.yaml").write_text(f"prompt:\n  text: a smiling cat\n  side: {own}\n  drop: {drop}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Path("run.yaml"), [])
    assert str(caught.value) == f"run.yaml:4: prompt.drop: {problem}"
