"""The variants of a benchmark and the run config of each. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from threefusion.config import ConfigError, RunConfig, load_config
from threefusion.config.document import COMMAND_LINE, Entries, Node, Place
from threefusion.config.values import got
from threefusion.errors import did_you_mean, nearest

VARIANT_KEYS = ("config", "overrides")
GRID_KEYS = ("seed", "prompt.text")
"""Settings of a run that the benchmark decides."""
CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True)
class Variant:
    """One way of making things: a run config and settings that differ from it."""

    name: str
    config: Path
    overrides: tuple[Node, ...]


def read_variants(document: Entries) -> list[Variant]:
    """The variants of a benchmark, with what holds for all of them.

    Raises:
        ConfigError: no variants, an unknown key, a config that is not there.
    """
    form = "'name: {config: FILE, overrides: [key=value, …]}' lines"
    if "variants" not in document:
        raise ConfigError(f"variants: a benchmark needs {form}", next(iter(document.values())).place)
    node = document["variants"]
    if not isinstance(node.value, dict):
        raise ConfigError(f"variants: expected {form}, got {got(node.value)}", node.place)
    if not node.value:
        raise ConfigError("variants: expected at least one", node.place)
    shared = _overrides(document, "overrides")
    return [_variant(document, name, entry, shared) for name, entry in node.value.items()]


def _variant(document: Entries, name: str, node: Node, shared: list[Node]) -> Variant:
    path, place = f"variants.{name}", node.place
    if not is_folder_name(name):
        raise ConfigError(f"{path}: expected a name of letters, digits, '-', '_' or '.'", place)
    own = {} if node.value is None else node.value
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: expected {{config: FILE, overrides: [key=value, …]}}, got {got(node.value)}", place)
    for word, inner in own.items():
        if word not in VARIANT_KEYS:
            raise ConfigError(f"{path}.{word}: unknown key of a variant{nearest(word, VARIANT_KEYS)}", inner.place)
    holder, where = (own, f"{path}.config") if "config" in own else (document, "config")
    if "config" not in holder:
        raise ConfigError(f"{path}.config: name the run config, here or once under 'config'", place)
    return Variant(name, _config_file(holder["config"], where), (*shared, *_overrides(own, f"{path}.overrides")))


def _config_file(node: Node, path: str) -> Path:
    """The run config that is named under `config`: relative to the file that names it."""
    if not node.text:
        raise ConfigError(f"{path}: expected a file, got {got(node.value)}", node.place)
    place, folder = node.place, Path(node.place.file).parent
    file = Path(os.path.normpath(folder / Path(node.text).expanduser()))
    if not file.is_file():
        beside = [os.path.relpath(other, folder) for other in file.parent.glob("*.yaml")]
        problem = f"no file {node.text!r} as seen from {Path(place.file).name}{did_you_mean(node.text, beside)}"
        raise ConfigError(f"{path}: {problem}", place)
    return file


def _overrides(entries: Entries, path: str) -> list[Node]:
    if "overrides" not in entries:
        return []
    node = entries["overrides"]
    if not isinstance(node.value, list) or not all(item.text for item in node.value):
        raise ConfigError(f"{path}: expected a list of texts, got {got(node.value)}", node.place)
    refuse_grid_keys(node.value, path)
    return node.value


def refuse_grid_keys(overrides: list[Node], path: str) -> None:
    """Refuse overrides of what the benchmark sets itself.

    Raises:
        ConfigError: it names the list to use instead.
    """
    for override in overrides:
        key = override.text.partition("=")[0].lstrip("+~")
        if key in GRID_KEYS:
            listed = "seeds" if key == "seed" else "prompts"
            raise ConfigError(f"{path}: {override.text!r}: the benchmark sets {key}. List it under {listed!r}", override.place)


def command_line(words: list[str]) -> list[Node]:
    """Words of the command line."""
    return [Node(word, Place(COMMAND_LINE), word) for word in words]


def run_config(variant: Variant, prompt: Node, extra: list[str]) -> RunConfig:
    """The checked config of a variant with a prompt.

    Raises:
        ConfigError: it names the line of the benchmark that is to blame.
    """
    given = [*variant.overrides, *command_line(extra)]
    try:
        return load_config(variant.config, [*(override.text for override in given), f"prompt.text={prompt.text}"])
    except ConfigError as error:
        if getattr(error.place, "file", None) != COMMAND_LINE:
            raise
        raise _blamed(variant, given, prompt, error) from error


def _blamed(variant: Variant, given: list[Node], prompt: Node, error: ConfigError) -> ConfigError:
    """The error with the line of the override, or of the prompt, that brought it about."""
    for count, guilty in enumerate(given, 1):
        fault = _fault(variant.config, given[:count], prompt.text)
        if fault is not None and fault.problem == error.problem:
            if guilty.place.file == COMMAND_LINE:
                return error
            return ConfigError(f"variants.{variant.name}.overrides: {error.problem}", guilty.place)
    return ConfigError(f"prompts: variant {variant.name!r} cannot take {prompt.text!r}: {error.problem}", prompt.place)


def _fault(config: Path, overrides: list[Node], prompt: str) -> ConfigError | None:
    try:
        load_config(config, [*(override.text for override in overrides), f"prompt.text={prompt}"])
    except ConfigError as error:
        return error
    return None


def is_folder_name(name: str) -> bool:
    """Whether a folder can be called so everywhere."""
    return 0 < len(name) <= 100 and set(name) <= CHARACTERS and not name.startswith(".")
