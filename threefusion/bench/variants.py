"""The variants of a benchmark as they are written, and the run config that each stands for. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from threefusion.config import ConfigError, RunConfig, load_config
from threefusion.config.document import COMMAND_LINE, Place, construct, entries, is_null, place
from threefusion.config.values import got
from threefusion.errors import did_you_mean, nearest

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


def read_variants(document: yaml.MappingNode) -> list[Variant]:
    """The variants of a benchmark, with what is said once for all of them.

    Raises:
        ConfigError: no variants, an unknown key, a config that is not there.
    """
    key, node = entries(document).get("variants", (document, None))
    form = "'name: {config: FILE, overrides: [key=value, …]}' lines"
    if node is None:
        raise ConfigError(f"variants: a benchmark needs {form}", place(key))
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"variants: expected {form}, got {got(construct(node))}", place(key))
    if not node.value:
        raise ConfigError("variants: expected at least one", place(key))
    shared = _overrides(document, "overrides")
    return [_variant(document, name, entry, shared) for name, entry in entries(node).items()]


def _variant(document: yaml.MappingNode, name: str, entry: tuple[yaml.Node, yaml.Node], shared: list[Text]) -> Variant:
    path, (key, node) = f"variants.{name}", entry
    if not is_folder_name(name):
        raise ConfigError(f"{path}: expected a name of letters, digits, '-', '_' or '.'", place(key))
    if is_null(node):
        node = yaml.MappingNode(document.tag, [], place(key))
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected {{config: FILE, overrides: [key=value, …]}}, got {got(construct(node))}", place(key))
    for word, (written, _) in entries(node).items():
        if word not in VARIANT_KEYS:
            raise ConfigError(f"{path}.{word}: unknown key of a variant{nearest(word, VARIANT_KEYS)}", place(written))
    holder, where = (node, f"{path}.config") if "config" in entries(node) else (document, "config")
    if "config" not in entries(holder):
        raise ConfigError(f"{path}.config: name the run config, here or once under 'config'", place(key))
    return Variant(name, _config_file(holder, where), (*shared, *_overrides(node, f"{path}.overrides")))


def _config_file(holder: yaml.MappingNode, path: str) -> Path:
    """The run config that is named under `config`: relative to the file that names it."""
    key, node = entries(holder)["config"]
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        raise ConfigError(f"{path}: expected a file, got {got(construct(node))}", place(key))
    folder = Path(place(key).file).parent
    file = Path(os.path.normpath(folder / Path(node.value).expanduser()))
    if not file.is_file():
        beside = [os.path.relpath(other, folder) for other in file.parent.glob("*.yaml")]
        problem = f"no file {node.value!r} as seen from {Path(place(key).file).name}{did_you_mean(node.value, beside)}"
        raise ConfigError(f"{path}: {problem}", place(key))
    return file


def _overrides(mapping: yaml.MappingNode, path: str) -> list[Text]:
    key, node = entries(mapping).get("overrides", (mapping, None))
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise ConfigError(f"{path}: expected a list of texts, got {got(construct(node))}", place(key))
    written = [Text(item.value, place(item)) for item in node.value]
    refuse_grid_keys(written, path)
    return written


def refuse_grid_keys(overrides: list[Text], path: str) -> None:
    """Refuse overrides of what the benchmark sets itself.

    Raises:
        ConfigError: it names the list to use instead.
    """
    for override in overrides:
        key = override.text.partition("=")[0].lstrip("+~")
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
