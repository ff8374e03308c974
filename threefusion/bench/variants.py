"""The variants of a benchmark as they are written, and the run config that each stands for. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from threefusion.config import ConfigError, RunConfig, load_config
from threefusion.document import COMMAND_LINE, Mapping, Node, Place, Scalar, Sequence
from threefusion.fields import leaf, under
from threefusion.suggest import did_you_mean, nearest
from threefusion.values import got

VARIANT_KEYS = ("config", "overrides")
GRID_KEYS = ("seed", "prompt.text")
"""Settings of a run that the benchmark decides."""
CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True)
class Text:
    """Something written, and where."""

    text: str
    place: Place


@dataclass(frozen=True)
class Variant:
    """One way of making things: a run config and settings that differ from it."""

    name: str
    config: Path
    overrides: tuple[Text, ...]


def read_variants(document: Mapping) -> list[Variant]:
    """The variants of a benchmark, with what is said once for all of them.

    Raises:
        ConfigError: no variants, an unknown key, a config that is not there.
    """
    node, place = document.entries.get("variants"), document.key_place("variants")
    if node is None:
        raise ConfigError("variants: a benchmark needs 'name: {config: FILE, overrides: [key=value, …]}' lines", place)
    if isinstance(node, Mapping) and not node.entries:
        raise ConfigError("variants: at least one", place)
    if not isinstance(node, Mapping):
        raise ConfigError(f"variants: expected 'name: {{config: FILE, overrides: [key=value, …]}}' lines, got {got(node)}", place)
    shared = _overrides(document, "overrides")
    return [_variant(document, name, entry, node.key_place(name), shared) for name, entry in node.entries.items()]


def _variant(document: Mapping, name: str, node: Node, place: Place, shared: list[Text]) -> Variant:
    path = f"variants.{name}"
    if not is_folder_name(name):
        raise ConfigError(f"{path}: expected a name of letters, digits, '-', '_' or '.'", place)
    if isinstance(node, Scalar) and node.is_null:
        node = Mapping({}, place, {})
    if not isinstance(node, Mapping):
        raise ConfigError(f"{path}: expected {{config: FILE, overrides: [key=value, …]}}, got {got(node)}", place)
    for key in node.entries:
        if key not in VARIANT_KEYS:
            raise ConfigError(f"{path}.{key}: no such key of a variant{nearest(key, VARIANT_KEYS)}", node.key_place(key))
    holder, where = (node, f"{path}.config") if "config" in node.entries else (document, "config")
    if "config" not in holder.entries:
        raise ConfigError(f"{path}.config: name the run config, here or once under 'config'", place)
    return Variant(name, _config_file(holder, where), (*shared, *_overrides(node, f"{path}.overrides")))


def _config_file(holder: Mapping, path: str) -> Path:
    """The run config that is named under `config`: relative to the file that names it."""
    text, place = leaf(under([holder], "config"), str, path), holder.key_place("config")
    folder = Path(place.file).parent
    file = Path(os.path.normpath(folder / Path(text).expanduser()))
    if not file.is_file():
        beside = [os.path.relpath(other, folder) for other in file.parent.glob("*.yaml")]
        raise ConfigError(f"{path}: no file {text!r} as seen from {Path(place.file).name}{did_you_mean(text, beside)}", place)
    return file


def _overrides(mapping: Mapping, path: str) -> list[Text]:
    if "overrides" not in mapping.entries:
        return []
    node = mapping.entries["overrides"]
    texts = leaf([(node, mapping.key_place("overrides"))], list[str], path)
    written = [Text(text, item.place) for text, item in zip(texts, _items(node), strict=True)]
    refuse_grid_keys(written, path)
    return written


def _items(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, Sequence) else ()


def refuse_grid_keys(overrides: list[Text], path: str) -> None:
    """Refuse overrides of what the benchmark sets itself.

    Raises:
        ConfigError: it names the list to use instead.
    """
    for override in overrides:
        key = override.text.partition("=")[0]
        if key in GRID_KEYS:
            listed = "seeds" if key == "seed" else "prompts"
            raise ConfigError(f"{path}: {override.text!r}: the benchmark sets {key}. List it under {listed!r}", override.place)


def run_config(variant: Variant, prompt: Text, extra: list[str]) -> RunConfig:
    """The checked config of a variant with a prompt.

    Raises:
        ConfigError: it names the line of the benchmark that is to blame.
    """
    given = [*variant.overrides, *(Text(text, Place(COMMAND_LINE)) for text in extra)]
    try:
        return load_config(variant.config, [*(override.text for override in given), f"prompt.text={prompt.text}"])
    except ConfigError as error:
        if getattr(error.place, "file", None) != COMMAND_LINE:
            raise
        raise _blamed(variant, given, prompt, error) from error


def _blamed(variant: Variant, given: list[Text], prompt: Text, error: ConfigError) -> ConfigError:
    """The error with the line of the override, or of the prompt, that brought it about."""
    for count, guilty in enumerate(given, 1):
        fault = _fault(variant.config, given[:count], prompt.text)
        if fault is not None and fault.problem == error.problem:
            if guilty.place.file == COMMAND_LINE:
                return error
            return ConfigError(f"variants.{variant.name}.overrides: {error.problem}", guilty.place)
    return ConfigError(f"prompts: variant {variant.name!r} cannot take {prompt.text!r}: {error.problem}", prompt.place)


def _fault(config: Path, overrides: list[Text], prompt: str) -> ConfigError | None:
    try:
        load_config(config, [*(override.text for override in overrides), f"prompt.text={prompt}"])
    except ConfigError as error:
        return error
    return None


def is_folder_name(name: str) -> bool:
    """Whether a folder can be called so everywhere."""
    return bool(name) and set(name) <= CHARACTERS and not name.startswith(".")
