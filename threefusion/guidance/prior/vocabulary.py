"""The closed vocabulary of the bundled models. Imports neither torch nor diffusers, so that prompts are checked at once."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from threefusion.errors import UserError
from threefusion.guidance.prior.files import ModelError, read_settings
from threefusion.guidance.prior.models import guiding_models, local_folder
from threefusion.guidance.prior.user_files import check_user_files
from threefusion.guidance.prior.words import contains, near_word, words

if TYPE_CHECKING:
    from threefusion.config import RunConfig

VOCABULARY_FILE = "toyworld.json"
"""In the folder of a model with a closed vocabulary; models without it have an open one."""


class VocabularyError(UserError):
    """A prompt names no object of the model's vocabulary; `problem` is the message without the way to train all the same."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem} To train all the same, add --anyway.")
        self.problem = problem


def check_prompt(model: str, text: str) -> list[str]:
    """Warnings, one sentence each, about words of `text` that `model` was not trained on; none for a model of open vocabulary.

    Raises:
        VocabularyError: the text names no object of the vocabulary.
    """
    vocabulary = read_vocabulary(model)
    if vocabulary is None:
        return []
    known = {word for phrase in vocabulary["known_words"] for word in words(phrase)}
    unknown = [word for word in dict.fromkeys(words(text)) if word not in known and word.removesuffix("s") not in known]
    if not any(contains(text, noun) for noun in vocabulary["object_words"]):
        nouns = [near_word(word, vocabulary["object_words"]) for word in unknown]
        near = next((f" Did you mean {noun!r}?" for noun in nouns if noun), "")
        classes, colors = ", ".join(vocabulary["classes"]), ", ".join(vocabulary["colors"])
        prompt = shlex.quote(" ".join(text.split()))
        command = f"python launch.py train --config configs/dreamfusion-sd.yaml --prompt {prompt}"
        raise VocabularyError(
            f"{model} knows no object in {text!r}.{near} It knows {classes}, each in {colors}. "
            f"For any other prompt use a model of open vocabulary: {command}."
        )
    return [_unknown(model, word, near_word(word, [*known, *vocabulary["object_words"]])) for word in unknown]


def _unknown(model: str, word: str, near: str | None) -> str:
    return f"{model} does not know the word {word!r} and will not follow it.{f' Did you mean {near!r}?' if near else ''}"


def unknown_words(config: RunConfig) -> list[str]:
    """`check_prompt` for a run's prompt and model; nothing for a prior without a model.

    Raises:
        VocabularyError: the prompt names no object of the vocabulary.
    """
    return [warning for model in guiding_models(config) for warning in check_prompt(model, config.text)]


def prompt_warnings(config: RunConfig, anyway: bool) -> list[str]:
    """`unknown_words`; if the run is wanted `anyway`, a prompt without a known object is a warning too.

    Raises:
        VocabularyError: the prompt names no object of the vocabulary, and the run is not wanted `anyway`.
        ModelError: a file of the user's that the run needs cannot be read.
    """
    warnings = check_user_files(config)
    try:
        return unknown_words(config) + warnings
    except VocabularyError as error:
        if not anyway:
            raise
        return [error.problem, *warnings]


def read_vocabulary(model: str) -> dict[str, Any] | None:
    """The vocabulary in the folder of `model`, or None.

    `classes` and `colors` can be generated, `object_words` are all phrases that name a class, `known_words` those of the training
    captions.

    Raises:
        ModelError: the file cannot be read, or one of them is missing.
    """
    folder = local_folder(model)
    if folder is None or not (folder / VOCABULARY_FILE).is_file():
        return None
    vocabulary = read_settings(folder / VOCABULARY_FILE)
    for name, expected in {"classes": list, "colors": list, "known_words": list, "object_words": dict}.items():
        if not isinstance(vocabulary.get(name), expected):
            raise ModelError(f"{folder / VOCABULARY_FILE}: expected {name!r}, a {expected.__name__}")
    return vocabulary
