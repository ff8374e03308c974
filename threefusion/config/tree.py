"""Layers of nodes -> unresolved settings with the place of every value: components, their types, their fields."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threefusion.config.catalogue import Catalogue
from threefusion.config.document import COMMAND_LINE, ESCAPED, NULLS, OVERRIDE, Entries, Layers, Node, Place, added_up
from threefusion.config.document import plain as plain_node
from threefusion.config.fields import Schedule, Settings
from threefusion.config.values import (
    escaped,
    expected,
    first_line,
    got,
    kinds,
    members,
    near_option,
    options,
    plain,
)
from threefusion.errors import ConfigError, did_you_mean, nearest
from threefusion.registry import Entry, RegistryError

_TEXT, _NUMBERS, _LISTS, _LARGEST = {str, Path}, {bool, int, float}, {list, tuple, dict}, 2**63


class Misfit(Exception):
    """A value does not fit its field; the message says what was expected, `below` where inside the value."""

    def __init__(self, problem: str, below: str = "") -> None:
        super().__init__(problem)
        self.below = below


def mappings(layers: Layers, path: str) -> list[Entries]:
    """The entries of a section in each layer; null discards those before it.

    Raises:
        ConfigError: something else was written.
    """
    found: list[Entries] = []
    for place, node in layers:
        if node.value is not None and not isinstance(node.value, dict):
            raise ConfigError(f"{path}: expected a mapping, got {got(plain_node(node))}", place)
        found = [] if node.value is None else [*found, node.value]
    return found


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The types of a settings class's fields."""
    return typing.get_type_hints(cls)


@cache
def schema(cls: type) -> type:
    """The class that OmegaConf checks settings of `cls` against: itself, unless schedules make it accept anything there."""
    hints = field_types(cls)
    if not any(Schedule in kinds(hint) for hint in hints.values()):
        return cls
    declared = [(name, Any if Schedule in kinds(hint) else hint, dataclasses.field(default=None)) for name, hint in hints.items()]
    return dataclasses.make_dataclass(cls.__name__, declared, frozen=True, bases=(cls.__mro__[-2],))


class Tree:
    """One config while it is read: the place and the type of every value."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.places: dict[str, Place] = {}
        """By dotted path, of all fields and components."""
        self.fields: dict[str, Any] = {}
        """By dotted path, the type of every field."""
        self.classes: dict[str, type] = {}
        """By dotted path, the settings class of every component and section."""
        self.entries: list[Entry] = []
        """The components of the config."""
        self.given: dict[str, Any] = {}
        """By dotted path, what was written for a field, unresolved."""

    def component(self, layers: Layers, kind: str, default: str | None, path: str, where: Place) -> Settings | None:
        """The settings that `layers` give to the component that they name last, unresolved.

        Another type discards what was written for the old one. The last type on the command line holds for all overrides of the
        run, or all of the stage.

        Raises:
            ConfigError: no such component, or one of its settings is wrong.
        """
        named = [(place, self._type_of(node, path, place)) for place, node in layers]
        chosen = {place: given for place, given in named if place.file == COMMAND_LINE and given}
        name, kept, at = default, [], path
        for (place, node), (_, given) in zip(layers, named, strict=True):
            where = place
            if node.value is None:
                name, kept = None, []
                continue
            given = chosen.get(place, given)
            new, at, where = given or (name or default, at, place)
            if new is None:
                raise ConfigError(f"{path}.type: name the {kind} that these settings are for", place)
            kept = [*(kept if new == name else []), *([node.value] if isinstance(node.value, dict) else [])]
            name = new
        if name is None:
            return None
        try:
            self.entries.append(entry := self.catalogue.find(kind, name))
        except RegistryError as error:
            raise ConfigError(f"{at}: {error}", where) from error
        return self.section(entry.settings, kept, path, f"{kind} {name!r}", where)

    @staticmethod
    def _type_of(node: Node, path: str, place: Place) -> tuple[str, str, Place] | None:
        """The type that a node names, the key under which it does, and the place; None where it names none."""
        at = path
        if isinstance(node.value, dict):
            if "type" not in node.value:
                return None
            place, node = node.value["type"]
            at = f"{path}.type"
        elif node.value is None:
            return None
        if not node.text or isinstance(node.value, dict | list):
            raise ConfigError(f"{at}: expected a name{'' if at != path else ' or a mapping'}, got {got(plain_node(node))}", place)
        name = node.value if isinstance(node.value, str) else node.text
        try:
            return str(OmegaConf.create({"type": name}).type) if "${" in name else name, at, node.place
        except OmegaConfBaseException as error:
            raise ConfigError(f"{at}: {first_line(error)}", place) from error

    def section(self, cls: type, layers: list[Entries], path: str, owner: str, where: Place) -> Any:
        """An instance of `schema(cls)` with what was written for each of its fields, unresolved and unchecked.

        Raises:
            ConfigError: an unknown field, a missing value, or one of another form than its field's.
        """
        known, hints = {field.name: field for field in dataclasses.fields(cls)}, field_types(cls)
        for entries in layers:
            for name in entries.keys() - known.keys() - {"type"}:
                problem = f"unknown field of {owner}{self._where_it_is(name, known)}"
                raise ConfigError(f"{path}.{name}".lstrip(".") + f": {problem}", entries[name][0])
        self.places[path], self.classes[path] = where, cls
        made = object.__new__(schema(cls))
        for name, field in known.items():
            given, inner = [entries[name] for entries in layers if name in entries], f"{path}.{name}" if path else name
            self.places[inner], self.fields[inner] = given[-1][0] if given else where, hints[name]
            object.__setattr__(made, name, self._field(field, given, inner, where))
        return made

    def _field(self, field: dataclasses.Field, given: Layers, path: str, where: Place) -> Any:
        """A field's value, unresolved."""
        hint = self.fields[path]
        if kind := field.metadata.get("kind"):
            value = self.component(given, kind, field.metadata["default"], path, where)
            if value is None and types.NoneType not in kinds(hint):
                raise ConfigError(
                    f"{path}: cannot be null. Available: {', '.join(self.catalogue.names(kind))}", self.places[path]
                )
            return value
        if given:
            try:
                node = added_up(given) if typing.get_origin(hint) is dict else given[-1][1]
                value = self.given[path] = convert(node, hint, bool(field.metadata.get("literal")))
                return value
            except Misfit as misfit:
                raise ConfigError(f"{path}{misfit.below}: {misfit}", self.places[path]) from None
        if field.default is not dataclasses.MISSING:
            return plain(field.default) if Schedule in kinds(hint) else field.default
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        how = f'. Write it in the YAML, or give {path}="…"' if "." in path else ""
        raise ConfigError(f"{path}: a value is required ({expected(hint)}){how}", where)

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


def convert(node: Node, hint: Any, literal: bool) -> Any:
    """A node as plain Python: very characters for text, what YAML says for the rest. OmegaConf checks the types later.

    Stricter than OmegaConf where it guesses: "3" is no number, 1 is not true, a number is finite.

    Raises:
        Misfit: the node cannot be a value of this type.
    """
    kind = kinds(hint)
    is_scalar = node.kind == OVERRIDE or not isinstance(node.value, dict | list)
    if is_scalar and kind & _TEXT and not kind - _TEXT - {types.NoneType}:
        return _text(node, hint, literal)
    value = node.value
    if isinstance(value, dict) and Schedule in kind:
        return _knots(value, hint)
    if isinstance(value, dict | list):
        return _container(value, hint, literal)
    return _checked_scalar(value, hint, kind)


def _text(node: Node, hint: Any, literal: bool) -> str | None:
    is_null = node.text in NULLS if node.kind == OVERRIDE else node.value is None
    if not is_null or (node.kind == OVERRIDE and types.NoneType not in kinds(hint)):
        return escaped(node.text) if literal and node.kind != ESCAPED and ("$" in node.text or "?" in node.text) else node.text
    if types.NoneType not in kinds(hint):
        raise Misfit(f"expected {expected(hint)}, got nothing. Put it in quotes if it is meant as text")
    return None


def _container(value: Any, hint: Any, literal: bool) -> Any:
    kind, inner = kinds(hint), next((typing.get_args(member) for member in members(hint) if typing.get_args(member)), ())
    if isinstance(value, list) and kind & {list, tuple}:
        parts = [inner[0] if inner else Any] * len(value) if list in kind or Ellipsis in inner else inner
        if len(parts) != len(value):
            raise Misfit(f"expected {expected(hint)}, got {len(value)} values")
        return [_below(item, part, literal, f"[{index}]") for index, (item, part) in enumerate(zip(value, parts, strict=True))]
    if isinstance(value, dict) and dict in kind:
        return {key: _below(item, inner[1] if inner else Any, literal, f".{key}") for key, (_, item) in value.items()}
    if Any in kind:
        return plain_node(value)
    advice = ". Put it in quotes if it is meant as text" if str in kind else ""
    raise Misfit(f"expected {expected(hint)}, got {got(value)}{advice}")


def _checked_scalar(value: Any, hint: Any, kind: frozenset[Any]) -> Any:
    if Any in kind or (isinstance(value, str) and "${" in value):
        return value
    if isinstance(value, float) and value.is_integer() and int in kind and float not in kind:
        value = int(value)
    numbers = _NUMBERS & kind or ({float} if Schedule in kind else set())
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    choices = options(hint) if typing.Literal in kind else []
    if is_number and not abs(value) < _LARGEST:
        raise Misfit(
            f"expected a finite number below 2**63, got {value}" if value == value else f"expected {expected(hint)}, got nan"
        )
    if (
        (isinstance(value, str) and numbers and not _TEXT & kind and not choices)
        or (isinstance(value, bool) and not kind & {bool, str} and not choices)
        or (is_number and numbers == {bool})
        or (isinstance(value, float) and numbers and float not in numbers)
        or (choices and value not in choices and value is not None and not kind & {str, type(value)})
        or (value is None and types.NoneType not in kind)
        or (kind & _LISTS and not kind & {str, int} and value is not None)
    ):
        advice = ". Write [a, b]" if kind & {list, tuple} else ""
        raise Misfit(f"expected {expected(hint)}, got {got(value)}{advice}{near_option(value, hint)}")
    return value


def _below(node: Node, hint: Any, literal: bool, below: str) -> Any:
    try:
        return convert(node, hint, literal)
    except Misfit as misfit:
        raise Misfit(str(misfit), below + misfit.below) from None


def _knots(value: Entries, hint: Any) -> dict[str, Any]:
    """`{knots: {step: value}}`, its steps as whole numbers."""
    _, knots = value.get("knots", (None, None))
    if len(value) != 1 or not isinstance(knots.value if knots else None, dict):
        raise Misfit(f"expected {expected(hint)}, got a mapping")
    found: dict[int, Any] = {}
    for name, (_, node) in knots.value.items():
        try:
            step = float(name)
        except ValueError:
            step = math.nan
        if step in found or not (step.is_integer() and 0 <= step < _LARGEST):
            raise Misfit(
                "given twice" if step in found else f"expected a step, a whole number >= 0, got {name!r}", f".knots.{name}"
            )
        found[int(step)] = _below(node, float, False, f".knots.{name}")
    if not found:
        raise Misfit("expected at least one knot", ".knots")
    return {"knots": found}
