"""A model of closed vocabulary refuses what it cannot know, before anything heavy is loaded."""

import json
import subprocess
import sys

import pytest

from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.vocabulary import VocabularyError, check_prompt, read_vocabulary
from threefusion.guidance.prior.words import NEAR_SYNONYMS, words

FACTS = {
    "classes": ["ball", "ice cream cone"],
    "colors": ["red", "blue"],
    "object_words": {"ball": "ball", "sphere": "ball", "ice cream cone": "ice cream cone", "ice cream": "ice cream cone"},
    "known_words": ["a", "of", "photo", "ball", "sphere", "ice", "cream", "cone", "red", "blue", "front", "view"],
}


@pytest.fixture
def model(tmp_path):
    (tmp_path / "toyworld.json").write_text(json.dumps(FACTS))
    return str(tmp_path)


@pytest.mark.parametrize("text", ["a red ball", "Photo of a blue Sphere", "two-ball", "red balls", "ice cream cone"])
def test_known_objects_pass(model, text):
    assert not any(word in warning for warning in check_prompt(model, text) for word in ("'ball'", "'balls'", "'cone'"))


@pytest.mark.parametrize("text", ["a dragon", "a balloon", "ice cone", "red", "a cat: the movie", "123"])
def test_a_prompt_without_a_known_object_is_refused_with_a_way_out(model, text):
    with pytest.raises(VocabularyError) as caught:
        check_prompt(model, text)
    message = str(caught.value)
    assert repr(text) in message and "\n" not in message
    assert "ball, ice cream cone" in message and "red, blue" in message
    assert "dreamfusion-sd.yaml" in message and "--anyway" in message


def test_words_that_are_unknown_are_warned_of_once_each(model):
    warnings = check_prompt(model, "a shiny, shiny red ball wearing a hat")
    assert [warning.split("'")[1] for warning in warnings] == ["shiny", "wearing", "hat"]


@pytest.mark.parametrize(
    ("text", "near"),
    [("a red marble", "ball"), ("some gelatos", "ice cream"), ("a bal", "ball"), ("a dragon", None), ("a truck", None)],
)
def test_a_near_synonym_or_spelling_is_suggested_if_the_model_knows_it(model, text, near):
    with pytest.raises(VocabularyError) as caught:
        check_prompt(model, text)
    assert (f"Did you mean {near!r}?" in str(caught.value)) if near else ("Did you mean" not in str(caught.value))


def test_near_words_are_suggested_for_the_other_words_too(model):
    (warning,) = check_prompt(model, "a crimson ball")
    assert warning.endswith("does not know the word 'crimson' and will not follow it. Did you mean 'red'?")


def test_every_near_synonym_leads_to_a_word_of_the_bundled_models_and_is_none_itself():
    known = {word for phrase in read_vocabulary("toyworld-pixel")["known_words"] for word in words(phrase)}
    listed = [word for others in NEAR_SYNONYMS.values() for word in others.split()]
    assert len(listed) == len(set(listed)) and not known & set(listed)
    assert all(set(words(name)) <= known for name in NEAR_SYNONYMS)
    (automobile,) = check_prompt("toyworld-pixel", "a blue car, an automobile")
    assert automobile.endswith("Did you mean 'car'?")


def test_a_model_without_a_vocabulary_understands_everything(tmp_path):
    assert check_prompt(str(tmp_path), "a dragon") == []
    assert check_prompt("stable-diffusion-1-5", "a dragon") == []


@pytest.mark.parametrize("name", FACTS)
def test_a_vocabulary_that_lacks_a_list_is_refused_by_name(tmp_path, name):
    (tmp_path / "toyworld.json").write_text(json.dumps({other: words for other, words in FACTS.items() if other != name}))
    with pytest.raises(ModelError, match=f"toyworld.json: expected '{name}'"):
        check_prompt(str(tmp_path), "a red ball")


def test_checking_needs_no_torch(model):
    code = (
        f"import sys\nfrom threefusion.guidance.prior.vocabulary import check_prompt\ncheck_prompt({model!r}, 'a ball')\n"
        "assert not {'torch', 'diffusers', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
