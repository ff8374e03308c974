"""Components and their fields, checked against the config dataclasses; nothing here loads torch."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any

from threefusion import registry
from threefusion.config import Choice, ConfigError
from threefusion.document import Mapping, Node, Place, Scalar, parsed
from threefusion.suggest import did_you_mean, nearest
from threefusion.values import check_exists, convert, expected, got, names_file

Layers = list[tuple[Node, Place]]
"""What was written for one thing, each with the place of its key: later ones are laid over earlier ones."""


def under(mappings: Iterable[Mapping], key: str) -> Layers:
    """What each of the mappings holds under `key`."""
    return [(mapping.entries[key], mapping.key_place(key)) for mapping in mappings if key in mapping.entries]


def component(layers: Layers, kind: str, default: str | None, path: str, place: Place) -> Choice | None:
    """The component that is described by `layers`; naming another type discards what was written for the old one.

    Raises:
        ConfigError: no such component, or one of its settings is wrong.
    """
    named = resolve(layers, default, path, place)
    if named.name is None:
        return None
    try:
        config_type = registry.config_type(kind, named.name)
    except registry.RegistryError as error:
        raise ConfigError(f"{named.path}: {error}", named.place) from error
    settings = check_fields(named.mappings, config_type, path, named.name, named.place)
    return Choice(kind, named.name, tuple(settings.items()))


@dataclasses.dataclass(frozen=True)
class Named:
    """What `layers` settle on."""

    name: str | None
    mappings: list[Mapping]
    """The settings that belong to it."""
    path: str
    """The key under which it was named."""
    place: Place


def resolve(layers: Layers, default: str | None, path: str, place: Place) -> Named:
    """The component that `layers` name last, with the settings that were written for it.

    Raises:
        ConfigError: neither a name nor a mapping.
    """
    name, kept, named_at = default, [], path
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
            named_at = path if given is node else f"{path}.type"
            new, place = convert(given, str, named_at), given.place
        if new is None:
            raise ConfigError(f"{path}.type: name the component that these settings are for", key_place)
        kept = kept if new == name else []
        name = new
        if isinstance(node, Mapping):
            kept.append(node)
    return Named(name, kept, named_at, place)


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
                raise ConfigError(f"{inner}: cannot be null. There is: {', '.join(registry.names(kind))}", places[name])
        elif layers:
            values[name] = leaf(layers, hints[name], inner)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{inner}: a value is required ({expected(hints[name])}){_how_to_give(inner)}", place)
    return _constructed(config_type, values, path, places, place)


def _how_to_give(path: str) -> str:
    return f'. Write it in the YAML, or give {path}="…"' + (' or --prompt "…"' if path == "prompt.text" else "")


def _where_it_is(key: str, fields: dict[str, dataclasses.Field]) -> str:
    """The nearest field, also looked for one level deeper."""
    if near := did_you_mean(key, fields):
        return near
    for name, field in fields.items():
        if isinstance(field.default, Choice):
            inner = {f.name for f in dataclasses.fields(registry.config_type(field.default.kind, field.default.name))}
            if key in inner:
                return f". Did you mean '{name}.{key}'?"
    return nearest(key, fields)


def _constructed(config_type: type, values: dict[str, Any], path: str, places: dict[str, Place], place: Place) -> dict[str, Any]:
    try:
        config = config_type(**values)
    except ValueError as error:
        name, colon, _ = str(error).partition(":")
        known = bool(colon) and name in places
        shown = f", got {values[name]!r}" if known and isinstance(values.get(name), int | float | str | tuple) else ""
        raise ConfigError(f"{path}{'.' if known else ': '}{error}{shown}", places[name] if known else place) from error
    return {name: getattr(config, name) for name in places}


def leaf(layers: Layers, annotation: Any, path: str, default: Any = None) -> Any:
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
