"""The whole config tree is checked before anything is built; nothing here loads torch."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

from threefusion import discovery, registry
from threefusion.config import LOGGERS, Choice, ConfigError, OutputConfig, RunConfig
from threefusion.document import Mapping, Node, Place, Scalar, parsed, read_layers
from threefusion.trainer_arguments import trainer_argument
from threefusion.values import check_exists, convert, expected, got, names_file, suggest

PARTS: dict[str, str | None] = {
    "prompt": "interpolated",
    "camera": "orbital",
    "geometry": "density-field",
    "material": "diffuse",
    "background": "solid",
    "renderer": "volume",
    "guidance": "sds",
    "optimizer": "adam",
    "exporter": "mesh",
}
"""Top-level keys that name one component, with the component that is meant when `type` is left out."""
OTHER_KEYS = ("seed", "name", "loss", "trainer", "logger", "output")

Layers = list[tuple[Node, Place]]
"""What was written for one thing, each with the place of its key: later ones are laid over earlier ones."""


def check_run(path: Path, overrides: list[str]) -> RunConfig:
    """The checked config of the file `path` with `key=value` overrides.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    discovery.search(beside=path)
    documents = read_layers(path, overrides)
    file = Place(str(path))
    for document in documents:
        for key in document.entries:
            _check_key(key, document.key_place(key))
    parts = {kind: component(under(documents, kind), kind, default, kind, file) for kind, default in PARTS.items()}
    for kind, choice in parts.items():
        if choice is None and kind != "exporter":
            raise ConfigError(f"{kind}: a run needs one", under(documents, kind)[-1][1])
    return RunConfig(
        seed=_leaf(under(documents, "seed"), int, "seed", 0),
        name=_leaf(under(documents, "name"), str, "name", path.stem),
        **parts,
        losses=_losses(under(documents, "loss"), file),
        trainer=_trainer(under(documents, "trainer")),
        logger=_logger(under(documents, "logger"), file),
        output=_output(under(documents, "output"), file),
    )


def _check_key(key: str, place: Place) -> None:
    keys = [*PARTS, *OTHER_KEYS, "extends"]
    if key not in keys:
        near = suggest(key, keys) or f". There is: {', '.join(keys)}"
        raise ConfigError(f"{key}: no such part of a run{near}", place)


def under(mappings: typing.Iterable[Mapping], key: str) -> Layers:
    """What each of the mappings holds under `key`."""
    return [(mapping.entries[key], mapping.key_place(key)) for mapping in mappings if key in mapping.entries]


def component(layers: Layers, kind: str, default: str | None, path: str, place: Place) -> Choice | None:
    """The component that is described by `layers`; naming another type discards what was written for the old one.

    Raises:
        ConfigError: no such component, or one of its settings is wrong.
    """
    name, kept, place = resolve(layers, default, path, place)
    if name is None:
        return None
    try:
        config_type = registry.config_type(kind, name)
    except registry.RegistryError as error:
        raise ConfigError(f"{path}.type: {error}" if layers else f"{path}: {error}", place) from error
    settings = check_fields(kept, config_type, path, name, place)
    return Choice(kind, name, tuple(settings.items()))


def resolve(layers: Layers, default: str | None, path: str, place: Place) -> tuple[str | None, list[Mapping], Place]:
    """The name that `layers` settle on, the mappings that belong to it, and where it was named.

    Raises:
        ConfigError: neither a name nor a mapping.
    """
    name, kept = default, []
    for node, key_place in layers:
        node, place = parsed(node), key_place
        if isinstance(node, Scalar) and node.is_null:
            name, kept = None, []
            continue
        if not isinstance(node, Scalar | Mapping):
            raise ConfigError(f"{path}: expected a name or 'field: value' lines, got {got(node)}", key_place)
        given = node if isinstance(node, Scalar) else node.entries.get("type")
        new = name or default
        if given is not None:
            new, place = convert(given, str, f"{path}.type"), given.place
        if new is None:
            raise ConfigError(f"{path}.type: name the component that these settings are for", key_place)
        kept = kept if new == name else []
        name = new
        if isinstance(node, Mapping):
            kept.append(node)
    return name, kept, place


def check_fields(mappings: list[Mapping], config_type: type, path: str, owner: str, place: Place) -> dict[str, Any]:
    """Every field of `config_type` with its value, defaults included.

    Raises:
        ConfigError: an unknown field, a missing or ill-typed value, or one out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(config_type) if field.init}
    for mapping in mappings:
        for key in mapping.entries:
            if key not in fields and key != "type":
                raise ConfigError(f"{path}.{key}: no such field of {owner!r}{_where_it_is(key, fields)}", mapping.key_place(key))
    hints = typing.get_type_hints(config_type)
    values: dict[str, Any] = {}
    places: dict[str, Place] = {}
    for name, field in fields.items():
        layers = under(mappings, name)
        places[name] = layers[-1][1] if layers else place
        inner = f"{path}.{name}"
        if kind := field.metadata.get("kind"):
            default = field.default.name if isinstance(field.default, Choice) else None
            values[name] = component(layers, kind, default, inner, place)
            if values[name] is None and hints[name] is Choice:
                raise ConfigError(f"{inner}: a {kind} is needed here. There is: {', '.join(registry.names(kind))}", places[name])
        elif layers:
            values[name] = _leaf(layers, hints[name], inner)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{inner}: a value is required ({expected(hints[name])}){_how_to_give(inner)}", place)
    return _constructed(config_type, values, path, places, place)


def _how_to_give(path: str) -> str:
    return f'. Write it in the YAML, or give {path}="…"' + (' or --prompt "…"' if path == "prompt.text" else "")


def _where_it_is(key: str, fields: dict[str, dataclasses.Field]) -> str:
    """The nearest field, also looked for one level deeper."""
    near = suggest(key, fields)
    if near:
        return near
    for name, field in fields.items():
        if isinstance(field.default, Choice):
            inner = {f.name for f in dataclasses.fields(registry.config_type(field.default.kind, field.default.name))}
            if key in inner:
                return f". Did you mean '{name}.{key}'?"
    return f". There is: {', '.join(fields)}" if fields else ". It has none"


def _constructed(config_type: type, values: dict[str, Any], path: str, places: dict[str, Place], place: Place) -> dict[str, Any]:
    try:
        config = config_type(**values)
    except ValueError as error:
        name, colon, _ = str(error).partition(":")
        known = bool(colon) and name in places
        shown = f", got {values[name]!r}" if known and isinstance(values.get(name), int | float | str | tuple) else ""
        raise ConfigError(f"{path}{'.' if known else ': '}{error}{shown}", places[name] if known else place) from error
    return {name: getattr(config, name) for name in places}


def _leaf(layers: Layers, annotation: Any, path: str, default: Any = None) -> Any:
    """A plain value: the last one written wins, but the entries of a dictionary add up, and null removes one."""
    if not layers:
        return default
    node = layers[-1][0]
    if typing.get_origin(annotation) is dict:
        merged = _merged_dictionary(layers)
        node = merged or node
    value = convert(node, annotation, path)
    if names_file(path.rpartition(".")[2], annotation):
        check_exists(value, node, path)
    return value


def _merged_dictionary(layers: Layers) -> Mapping | None:
    entries: dict[str, Node] = {}
    place = layers[-1][1]
    for node, _ in layers:
        node = parsed(node)
        if not isinstance(node, Mapping):
            return None
        for key, value in _dotted(node).items():
            if isinstance(value, Scalar) and value.is_null:
                entries.pop(key, None)
            else:
                entries[key] = value
    return Mapping(entries, place, {})


def _dotted(mapping: Mapping) -> dict[str, Node]:
    """An override `optimizer.groups.geometry.encoding=…` means the entry `geometry.encoding`."""
    found: dict[str, Node] = {}
    for key, value in mapping.entries.items():
        if isinstance(value, Mapping):
            found.update({f"{key}.{inner}": node for inner, node in _dotted(value).items()})
        else:
            found[key] = value
    return found


def _entries(layers: Layers, path: str) -> dict[str, Layers]:
    """The layers of every entry of a section of named entries."""
    mappings = []
    for node, place in layers:
        node = parsed(node)
        if isinstance(node, Scalar) and node.is_null:
            mappings = []
        elif isinstance(node, Mapping):
            mappings.append(node)
        else:
            raise ConfigError(f"{path}: expected 'name: value' lines, got {got(node)}", place)
    return {key: under(mappings, key) for key in dict.fromkeys(key for mapping in mappings for key in mapping.entries)}


def _losses(layers: Layers, file: Place) -> dict[str, Choice]:
    checked = {name: component(below, "loss", name, f"loss.{name}", file) for name, below in _entries(layers, "loss").items()}
    return {name: choice for name, choice in checked.items() if choice is not None}


def _trainer(layers: Layers) -> dict[str, Any]:
    return {name: trainer_argument(name, below[-1][0], below[-1][1]) for name, below in _entries(layers, "trainer").items()}


def _logger(layers: Layers, file: Place) -> dict[str, Any]:
    name, kept, place = resolve(layers, "csv", "logger", file)
    name = name or "csv"
    if name not in LOGGERS:
        raise ConfigError(f"logger.type: no logger is called {name!r}. {discovery.nearest(name, LOGGERS)}", place)
    fields = check_fields(kept, LOGGERS[name], "logger", name, place)
    return {"type": name, **{key: value for key, value in fields.items() if value not in (None, [])}}


def _output(layers: Layers, file: Place) -> OutputConfig:
    for node, place in layers:
        if not isinstance(parsed(node), Mapping):
            raise ConfigError(f"output: expected 'field: value' lines, got {got(node)}", place)
    mappings = [typing.cast(Mapping, parsed(node)) for node, _ in layers]
    return OutputConfig(**check_fields(mappings, OutputConfig, "output", "output", file))
