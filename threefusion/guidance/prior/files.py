"""The files of a diffusers model folder: which are read, whether they are whole, and their fingerprint. Imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from threefusion.errors import UserError

TEXT_PARTS = ("text_encoder", "tokenizer")
"""Folders of a diffusers pipeline that turn texts into tokens; some have a second and a third of each."""
FURTHER_TEXT_PARTS = tuple(f"{part}_{number}" for number in (2, 3) for part in TEXT_PARTS)
SCHEDULERS = ("scheduler", "image_noising_scheduler")
"""Folders of noise schedules, which have no weights."""
VARIANTS = ("fp16", "", "bf16")
"""Variants of a network's weights, in order of preference; the empty one has full precision."""
VOCABULARIES = (("tokenizer.json",), ("spiece.model",), ("vocab.json", "merges.txt"), ("vocab.txt",))
"""A tokenizer reads the files of one group. If all are missing, transformers 5 builds an empty tokenizer and does not say so."""
_LARGE = 2**28
"""Bytes above which a file enters a fingerprint by its name in the hub's cache or its date, not by its content."""


class ModelError(UserError):
    """A model is missing, damaged, or has an unsupported layout."""


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of a model folder.

    Raises:
        ModelError: it is missing or cannot be read.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{path}: expected a JSON object, not a {type(settings).__name__}")
    return settings


def weight_names(part: str, names: Collection[str], variant: str) -> list[str]:
    """Those of `names` that hold the network `part` in `variant`: one file, or an index and its shards; none without either."""
    stem, dot = _stem(part), f".{variant}" if variant else ""
    heads = {f"{stem}{dot}.safetensors", f"{stem}.safetensors.index{dot}.json"}
    # the libraries wrote a shard's variant before its number, later after it
    number = r"-\d+-of-\d+"
    shard = re.compile(rf"{stem}({re.escape(dot)}{number}|{number}{re.escape(dot)})\.safetensors")
    return sorted(n for n in names if n in heads or shard.fullmatch(n)) if heads & set(names) else []


def _stem(part: str) -> str:
    """What diffusers and transformers call the weights of a network."""
    return "model" if "encoder" in part else "diffusion_pytorch_model"


def network_files(folder: Path) -> tuple[str, list[Path]]:
    """The variant of a network that is read, and its files: the first variant that is whole, else the first there is."""
    found = []
    for variant in VARIANTS:
        names = weight_names(folder.name, [path.name for path in folder.glob("*")], variant)
        # an index decides which shards are needed, not what lies beside it
        heads = [folder / name for name in names if "-of-" not in name]
        shards = {folder / name for file in heads if file.suffix == ".json" for name in _shards(file)}
        if heads:
            found.append((variant, [*heads, *sorted(shards)]))
    whole = [choice for choice in found if not any(_fault(file) for file in choice[1])]
    return (whole or found or [("", [])])[0]


def text_parts(folder: Path) -> tuple[str, ...]:
    """The folders of all text encoders and tokenizers of a pipeline: beside the first ones those that its model_index.json lists.

    Raises:
        ModelError: model_index.json cannot be read.
    """
    index = folder / "model_index.json"
    listed = read_settings(index) if index.is_file() else {}
    return (*TEXT_PARTS, *(part for part in FURTHER_TEXT_PARTS if is_listed(listed, part)))


def with_text_parts(folder: Path, parts: Sequence[str]) -> list[str]:
    """`parts`, and with the first text encoder all that the pipeline has.

    Raises:
        ModelError: model_index.json cannot be read.
    """
    return list(dict.fromkeys((*parts, *(text_parts(folder) if TEXT_PARTS[0] in parts else ()))))


def is_listed(index: dict[str, Any], part: str) -> bool:
    """Whether a model_index.json names a class for a part; for one that a pipeline does without it is null."""
    entry = index.get(part)
    return isinstance(entry, list) and len(entry) == 2 and entry[1] is not None


def defect(folder: Path, parts: Sequence[str]) -> str | None:
    """Why `parts` of the model in `folder` cannot be read, naming the first file at fault; None if all files are whole.

    With its first text encoder a pipeline needs all of them.
    """
    try:
        needed = with_text_parts(folder, parts)
    except ModelError as error:
        return str(error)
    return next((fault for part in needed if (fault := _part_fault(folder / part))), None)


def settings_defect(folder: Path, parts: Sequence[str]) -> str | None:
    """As `defect`, for the settings and tokenizers alone: the weights come from elsewhere."""
    if fault := _fault(folder / "model_index.json"):
        return fault
    faults = []
    for part in with_text_parts(folder, parts):
        is_whole = part.startswith("tokenizer") or part in SCHEDULERS
        faults.append(_part_fault(folder / part) if is_whole else _fault(folder / part / "config.json"))
    return next(filter(None, faults), None)


def fingerprint(folder: Path, parts: Sequence[str] = TEXT_PARTS) -> str:
    """A digest of the files in `parts` of a model: a retrained or repaired model gets another one. Model cards are ignored.

    A file above 256 MB enters by its content-addressed name in the hub's cache, elsewhere by its size and modification time.
    """
    import hashlib  # slow to load, which `check` does without

    digest = hashlib.sha256()
    for part in parts:
        files = [folder] if folder.is_file() else (folder / part).rglob("*")
        for file in sorted(path for path in files if path.is_file() and path.suffix != ".md"):
            stat, stored = file.stat(), file.resolve()
            if stat.st_size < _LARGE:
                content = file.read_bytes()
            else:
                date = stored.name if stored.parent.name == "blobs" else stat.st_mtime_ns
                content = f"{stat.st_size} {date}".encode()
            digest.update(f"{part}/{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:32]


def _part_fault(folder: Path) -> str | None:
    if folder.name.startswith("tokenizer"):
        return _tokenizer_fault(folder)
    if folder.name in SCHEDULERS:
        return _fault(folder / "scheduler_config.json")
    if folder.name == "feature_extractor":
        return _fault(folder / "preprocessor_config.json")
    if fault := _fault(folder / "config.json"):
        return fault
    if read_settings(folder / "config.json").get("model_type") == "clip":
        names = ("preprocessor_config.json", "model.safetensors")
        return next(filter(None, (_fault(folder / name) for name in names)), None) or _tokenizer_fault(folder)
    files = network_files(folder)[1]
    if not files:
        stem = _stem(folder.name)
        return f"{folder / stem}.safetensors is missing" + _others(folder)
    return next(filter(None, map(_fault, files)), None)


def _others(folder: Path) -> str:
    """The weights that a folder holds in place of those that are read."""
    names = sorted(file.name for file in folder.glob("*") if file.suffix in (".safetensors", ".bin", ".ckpt", ".msgpack"))
    return f" (there is {', '.join(names[:3])}, which is not read)" if names else ""


def _tokenizer_fault(folder: Path) -> str | None:
    """The fault of a tokenizer: no whole vocabulary, or damaged settings."""
    started = [group for group in VOCABULARIES if any((folder / name).exists() for name in group)]
    if not started:
        return f"{folder} has no vocabulary: expected {', or '.join(' with '.join(group) for group in VOCABULARIES)}"
    faults = [next(filter(None, (_fault(folder / name) for name in group)), None) for group in started]
    if None not in faults:
        return faults[0]
    cut = _cut_merges(folder) if started[faults.index(None)] == ("vocab.json", "merges.txt") else None
    return next(filter(None, map(_fault, sorted(folder.glob("*.json")))), cut)


def _cut_merges(folder: Path) -> str | None:
    """Whether the merges of a byte-pair tokenizer lack some of its tokens, all but a few of which are made by a merge."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    made = {"".join(line.split()) for line in lines}
    tokens = [token for token in read_settings(folder / "vocab.json") if len(token.removesuffix("</w>")) > 1 and token[0] != "<"]
    lost = sum(token not in made for token in tokens)
    if lost <= len(tokens) / 100:
        return None
    return f"{folder / 'merges.txt'} is cut off: it lacks {lost} of the {len(tokens)} merges that vocab.json needs"


def _shards(index: Path) -> set[str]:
    """The files that an index names; none if it is damaged, which is reported for the index itself."""
    return set(read_settings(index)["weight_map"].values()) if _fault(index) is None else set()


def _names_shards(weight_map: Any) -> bool:
    return isinstance(weight_map, dict) and all(isinstance(name, str) for name in weight_map.values())


def _fault(file: Path) -> str | None:
    """What is wrong with a file; None if it is whole, as far as its structure and the checksum published with it tell."""
    from threefusion.machine.checksums import damage  # loads hashlib

    if not file.is_file():
        return f"{file} is {'a link to nothing' if file.is_symlink() else 'missing'}"
    try:
        with file.open("rb") as stream:
            head = stream.read(40)
        if not head:
            return f"{file} is empty"
        if head.startswith(b"version https://git-lfs"):
            return f"{file} is a pointer of git-lfs: run `git lfs pull` in its repository"
        if file.suffix == ".safetensors" and (cut := _cut(file)):
            return cut
        if file.suffix == ".json":
            settings = read_settings(file)
            if ".index." in file.name and not _names_shards(settings.get("weight_map")):
                return f"{file} has no weight_map"
        return damage(file)
    except ModelError as error:
        return str(error)
    except OSError as error:
        return f"{file} cannot be read ({error})"
    return None


def _cut(file: Path) -> str | None:
    """Whether a safetensors file is as long as its header says."""
    try:
        ends = [entry["data_offsets"][1] for name, entry in safetensors_header(file).items() if name != "__metadata__"]
        expected = _header_bytes(file) + max(ends, default=0)
    except (ModelError, TypeError, KeyError, IndexError):
        return f"{file} is cut off or no safetensors file"
    size = file.stat().st_size
    return None if size == expected else f"{file} is cut off: {size} of {expected} bytes"


def safetensors_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: type, shape and place of each weight by name, and `__metadata__`.

    Raises:
        ModelError: it cannot be read.
    """
    if not file.is_file():
        raise ModelError(f"{file}: no such file")
    start, header = b"", None
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
            length = int.from_bytes(start, "little")
            header = json.loads(stream.read(length)) if length < file.stat().st_size else None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        pass
    if not isinstance(header, dict):
        is_pickle = start.startswith((b"PK\3\4", b"\x80"))
        problem = (
            "a pickle, which could run any program: expected safetensors" if is_pickle else "cut off, or no safetensors file"
        )
        raise ModelError(f"{file}: {problem}")
    return header


def _header_bytes(file: Path) -> int:
    """The bytes before the weights of a safetensors file."""
    with file.open("rb") as stream:
        return 8 + int.from_bytes(stream.read(8), "little")
