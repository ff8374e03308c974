"""Layers of YAML nodes -> one OmegaConf tree of structured configs -> frozen settings dataclasses.

OmegaConf converts, validates and interpolates; every error gets the file and line of the value that it is about.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from threefusion.config.catalogue import Catalogue
from threefusion.config.document import COMMAND_LINE, Place, construct, entries, is_null, parsed, place
from threefusion.config.fields import Schedule
from threefusion.config.values import (
    Misfit,
    convert,
    escaped,
    expected,
    got,
    hint_at,
    is_interpolation,
    members,
    plain,
    to_schedule,
)
from threefusion.errors import ConfigError, did_you_mean, nearest
from threefusion.registry import RegistryError

Layers = list[tuple[yaml.Node, yaml.Node]]
"""What was written for one key, as (key, value): later ones are laid over earlier ones."""
PATH_NAMES = ("model", "path", "file", "folder", "checkpoint", "mesh")
"""Text fields with these names, or ending in _ and one of them, may name something on disk."""


def under(mappings: list[yaml.MappingNode], key: str) -> Layers:
    """What each of the mappings holds under `key`."""
    return [found for mapping in mappings if (found := entries(mapping).get(key))]


def mappings(layers: Layers, path: str) -> list[yaml.MappingNode]:
    """The `name: value` lines of a section; null discards those before it.

    Raises:
        ConfigError: something else was written.
    """
    found: list[yaml.MappingNode] = []
    for key, node in layers:
        node = parsed(node, path)
        if not is_null(node) and not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: expected a mapping, got {got(construct(node))}", place(key))
        found = [] if is_null(node) else [*found, typing.cast(yaml.MappingNode, node)]
    return found


@cache
def schema(cls: type) -> type:
    """The structured config of a settings class for OmegaConf, in which slots and schedules may be anything."""
    hints = typing.get_type_hints(cls)
    declared = []
    for field in dataclasses.fields(cls):
        if "kind" in field.metadata or Schedule in members(hints[field.name]):
            value = plain(None if "kind" in field.metadata else field.default)
            declared.append((field.name, Any, dataclasses.field(default_factory=lambda value=value: value)))
        else:
            factory = {"default": field.default, "default_factory": field.default_factory}
            declared.append((field.name, hints[field.name], dataclasses.field(**factory)))
    return dataclasses.make_dataclass(cls.__name__, declared, kw_only=True)


class Tree:
    """One config while it is read: the place of every value, and the settings class of every node."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.places: dict[str, Place] = {}
        """By dotted path, of all fields and components."""
        self.fields: set[str] = set()
        self._classes: dict[str, type] = {}
        self._given: set[str] = set()

    def component(self, layers: Layers, kind: str, default: str | None, path: str, where: Place) -> DictConfig | None:
        """The settings of the component that `layers` name last; another type discards what was written for the old one.

        Raises:
            ConfigError: no such component, or one of its settings is wrong.
        """
        name, kept, named = default, [], path
        last = self._type_on_command_line(layers, path)
        for key, node in layers:
            node, where = parsed(node, path), place(key)
            if is_null(node):
                name, kept = None, []
                continue
            if isinstance(node, yaml.SequenceNode):
                raise ConfigError(f"{path}: expected a name or a mapping, got a list", where)
            given = last if last and where.file == COMMAND_LINE else _type_of(node, path)
            new = name or default
            if given is not None:
                new, named, where = _name(given[0], given[1]), given[1], place(given[0])
            if new is None:
                raise ConfigError(f"{path}.type: name the {kind} that these settings are for", where)
            kept, name = [*(kept if new == name else []), *([node] if isinstance(node, yaml.MappingNode) else [])], new
        if name is None:
            return None
        try:
            cls = self.catalogue.find(kind, name).settings
        except RegistryError as error:
            raise ConfigError(f"{named}: {error}", where) from error
        return self.section(cls, kept, path, f"{kind} {name!r}", where)

    @staticmethod
    def _type_on_command_line(layers: Layers, path: str) -> tuple[yaml.Node, str] | None:
        """The last type that overrides choose: it holds for all of them, in whichever order they were given."""
        chosen = None
        for key, node in layers:
            node = parsed(node, path)
            if place(key).file == COMMAND_LINE and not is_null(node):
                chosen = _type_of(node, path) or chosen
        return chosen

    def section(self, cls: type, nodes: list[yaml.MappingNode], path: str, owner: str, where: Place) -> DictConfig:
        """A structured config of `cls` with what was written for each of its fields.

        Raises:
            ConfigError: an unknown field, a missing or ill-typed value.
        """
        try:
            conf, hints = OmegaConf.structured(schema(cls)), typing.get_type_hints(cls)
        except Exception as error:  # a plugin's settings may be of any type
            raise ConfigError(f"{path}: {cls.__name__} cannot be set in a config: {_first_line(error)}", where) from error
        known = {field.name: field for field in dataclasses.fields(cls) if field.init}
        for node in nodes:
            for name, (key, _) in entries(node).items():
                if name not in known and name != "type":
                    problem = f"unknown field of {owner}{self._where_it_is(name, known)}"
                    raise ConfigError(f"{path}.{name}".lstrip(".") + f": {problem}", place(key))
        self.places[path], self._classes[path] = where, cls
        for name, field in known.items():
            layers, inner = under(nodes, name), f"{path}.{name}".lstrip(".")
            self.places[inner] = place(layers[-1][0]) if layers else where
            self.fields.add(inner)
            if kind := field.metadata.get("kind"):
                conf[name] = self.component(layers, kind, field.metadata["default"], inner, where)
                if conf[name] is None and type(None) not in members(hints[name]):
                    choices = ", ".join(self.catalogue.names(kind))
                    raise ConfigError(f"{inner}: cannot be null. Available: {choices}", self.places[inner])
            elif layers:
                self._given.add(inner)
                self._set(conf, field, layers, hints[name], inner)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                how = f'. Write it in the YAML, or give {inner}="…"' if path else ""
                raise ConfigError(f"{inner}: a value is required ({expected(hints[name])}){how}", where)
        return conf

    def _where_it_is(self, key: str, known: dict[str, dataclasses.Field]) -> str:
        """The nearest field, also looked for one level deeper."""
        if near := did_you_mean(key, known):
            return near
        for name, field in known.items():
            if field.metadata.get("default"):
                inner = self.catalogue.find(field.metadata["kind"], field.metadata["default"]).settings
                if key in {field.name for field in dataclasses.fields(inner)}:
                    return f". Did you mean '{name}.{key}'?"
        return nearest(key, known)

    def _set(self, conf: DictConfig, field: dataclasses.Field, layers: Layers, hint: Any, path: str) -> None:
        """Put what was written last into a field; the entries of a dictionary add up, and null removes one.

        Raises:
            ConfigError: it does not fit the field's type.
        """
        where, value = self.places[path], None
        try:
            value = convert(_added_up(layers) if typing.get_origin(hint) is dict else layers[-1][1], hint)
            literal = field.metadata.get("literal") and value is not None
            OmegaConf.update(conf, field.name, escaped(layers[-1][1]) if literal else value, merge=False)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.problem}", error.place) from error
        except Misfit as misfit:
            raise ConfigError(f"{path}{misfit.below}: {misfit}", where) from None
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            below = (getattr(error, "full_key", None) or "").removeprefix(field.name)
            part, hint = hint_at(value, hint, below)
            reason = _first_line(error) if is_interpolation(part) else f"expected {expected(hint)}, got {got(part)}"
            raise ConfigError(f"{path}{below}: {reason}{_near_option(part, hint)}", where) from error

    def instance(self, conf: DictConfig, path: str) -> Any:
        """The frozen dataclass of a node, interpolations resolved, checked by its own `__post_init__`.

        Raises:
            ConfigError: an interpolation that fails, or a value out of range.
        """
        cls = self._classes[path]
        hints, values = typing.get_type_hints(cls), {}
        for field in dataclasses.fields(cls):
            inner = f"{path}.{field.name}".lstrip(".")
            if inner in self._classes:
                values[field.name] = self.instance(conf[field.name], inner)
            elif field.init:
                values[field.name] = self.value(conf, field.name, hints[field.name], inner)
        try:
            return cls(**values)
        except (Exception, SystemExit) as error:
            name, colon, _ = str(error).partition(":")
            known = bool(colon) and name in values
            problem = str(error) if isinstance(error, ValueError) else f"{cls.__name__} failed: {type(error).__name__}: {error}"
            has_words = known and values[name] != "" and isinstance(values[name], int | float | str)
            shown = f", got {got(values[name])}" if has_words else ""
            start = f"{path}.{problem}" if known else f"{path}: {problem}"
            raise ConfigError(
                f"{start.lstrip('.')}{shown}", self.places[f"{path}.{name}".lstrip(".") if known else path]
            ) from error

    def value(self, conf: DictConfig, name: str, hint: Any, path: str) -> Any:
        """A field's value, its interpolations resolved.

        Raises:
            ConfigError: an interpolation that fails, or a path to nothing.
        """
        try:
            value = conf[name]
            value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            value = to_schedule(value) if Schedule in members(hint) and value is not None else value
        except MissingMandatoryValue:
            raise ConfigError(f"{path}: a value is required", self.places[path]) from None
        except RecursionError as error:
            raise ConfigError(f"{path}: interpolations that refer to each other", self.places[path]) from error
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            key = re.search(r"key '([^']+)' not found", str(error))
            raise ConfigError(
                f"{path}: {_first_line(error)}{did_you_mean(key[1], self.places) if key else ''}", self.places[path]
            ) from error
        if path in self._given and (Path in members(hint) or name.rpartition("_")[2] in PATH_NAMES):
            text = str(value) if isinstance(value, str | Path) else ""
            if text.startswith(("/", "./", "../", "~")) and not os.path.exists(os.path.expanduser(text)):
                raise ConfigError(f"{path}: {text} does not exist", self.places[path])
        return tuple(value) if isinstance(value, list) and typing.get_origin(hint) is tuple else value


def _type_of(node: yaml.Node, path: str) -> tuple[yaml.Node, str] | None:
    """The node that names the component, with its key; None where none does."""
    if isinstance(node, yaml.ScalarNode):
        return node, path
    named = entries(typing.cast(yaml.MappingNode, node)).get("type")
    return None if named is None else (named[1], f"{path}.type")


def _name(node: yaml.Node, path: str) -> str:
    """The name of a component; resolvers such as `${oc.env:X}` work in it."""
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        raise ConfigError(f"{path}: expected the name of a component, got {got(construct(node))}", place(node))
    if not is_interpolation(node.value):
        return node.value
    try:
        return str(OmegaConf.create({"type": node.value}).type)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_first_line(error)}", place(node)) from error


def _added_up(layers: Layers) -> yaml.Node:
    """The entries of all mappings; dotted overrides such as `optimizer.groups.geometry.encoding=…` name one entry each."""
    merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for _, node in layers:
        node = parsed(node)
        if not isinstance(node, yaml.MappingNode):
            merged, node = {}, layers[-1][1]
            if not isinstance(parsed(node), yaml.MappingNode):
                return node
        for key, pair in _flat(node, "").items():
            merged.pop(key, None)
            if not is_null(pair[1]):
                merged[key] = pair
    return yaml.MappingNode("tag:yaml.org,2002:map", list(merged.values()), layers[-1][1].start_mark)


def _flat(node: yaml.MappingNode, prefix: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        inner = _flat(value, f"{name}.") if isinstance(value, yaml.MappingNode) else None
        found |= inner if inner is not None else {name: (yaml.ScalarNode(key.tag, name, key.start_mark), value)}
    return found


def _near_option(value: Any, hint: Any) -> str:
    options = [str(o) for member in members(hint) if typing.get_origin(member) is typing.Literal for o in typing.get_args(member)]
    return did_you_mean(value, options) if isinstance(value, str) and options else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
