"""Layers of nodes -> unresolved settings with the place of every value: components, their types, their fields.

Errors are collected: a value that is wrong has its default in what follows.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threefusion.config.catalogue import Catalogue
from threefusion.config.document import COMMAND_LINE, Entries, Layers, Node, Place, mappings
from threefusion.config.fields import Schedule, Settings, key_of
from threefusion.config.named import entries_by_name
from threefusion.config.overrides import added_up
from threefusion.config.values import Misfit, convert, expected, field_types, got, item_settings, kinds, plain, unresolved
from threefusion.errors import ConfigError, collected, nearest
from threefusion.registry import Entry, RegistryError


@cache
def schema(cls: type) -> type:
    """The class that OmegaConf checks settings of `cls` against: itself, unless a field holds what OmegaConf has no type for."""
    wanted = {field.name: _checked_type(field, field_types(cls)[field.name]) for field in dataclasses.fields(cls)}
    if all(wanted[name] is hint for name, hint in field_types(cls).items() if name in wanted):
        return cls
    fields = [(key_of(field), wanted[field.name], dataclasses.field(default=None)) for field in dataclasses.fields(cls)]
    return dataclasses.make_dataclass(cls.__name__, fields, frozen=True, bases=(Settings,))


def _checked_type(field: dataclasses.Field, hint: Any) -> Any:
    """The type that OmegaConf checks a field against."""
    if Schedule in kinds(hint) or item_settings(hint) or field.metadata.keys() & {"named", "derived"}:
        return Any
    return schema(hint) if isinstance(hint, type) and issubclass(hint, Settings) else hint


def default_of(field: dataclasses.Field) -> Any:
    """A field's default, unresolved."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING if field.default is dataclasses.MISSING else plain(field.default)


class Tree:
    """One config while it is read: by dotted path, the place and the declaration of every value."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.places: dict[str, Place] = {}
        self.classes: dict[str, type] = {}
        """The settings class of every component and section."""
        self.owners: dict[str, tuple[Settings, dataclasses.Field]] = {}
        """The unresolved settings that hold a field, and the field."""
        self.given: dict[str, Any] = {}
        """What was written for a field, unresolved."""
        self.missing: set[str] = set()
        """Fields that must have a value and have none, which is an error."""
        self.replaced: set[str] = set()
        """Fields that have their default because what was written is an error."""
        self.entries: list[Entry] = []
        """The components of the config."""
        self.errors: list[ConfigError] = []

    def component(self, layers: Layers, kind: str, default: str | None, path: str, where: Place) -> Settings | None:
        """The settings that `layers` give to the component that they name last, unresolved.

        Another type discards what was written for the old one. The last type on the command line holds for all overrides of the
        run, or all of the stage.

        Raises:
            ConfigError: no type is named, or what names it is no text.
        """
        pairs = [(node, _type_of(node, path)) for node in layers]
        chosen = {node.place: given for node, given in pairs if node.place.file == COMMAND_LINE and given}
        name, kept, at = default, [], path
        for node, given in pairs:
            where = node.place
            if node.value is None:
                name, kept = None, []
                continue
            new, at, where = chosen.get(where, given) or (name or default, at, where)
            if new is None:
                raise ConfigError(f"{path}.type: name the {kind} that these settings are for", node.place)
            entries = {key: entry for key, entry in node.value.items() if key != "type"} if isinstance(node.value, dict) else {}
            name, kept = new, [*(kept if new == name else []), entries]
        if name is None:
            return None
        try:
            self.entries.append(entry := self.catalogue.find(kind, name))
        except RegistryError as error:
            raise ConfigError(f"{at}: {error}", where) from error
        return self.section(entry.settings, kept, path, f"field of {kind} {name!r}", where)

    def section(self, cls: type, layers: list[Entries], path: str, what: str, where: Place, known: Iterable[str] = ()) -> Any:
        """An instance of `schema(cls)` with what was written for each of its fields, unresolved.

        Entries that are no `what` are errors; `known` are keys beside the fields.
        """
        fields, start = {key_of(field): field for field in dataclasses.fields(cls)}, f"{path}." if path else ""
        for name, node in [pair for entries in layers for pair in entries.items()]:
            if name in cls.elsewhere or (name not in fields and name not in known):
                problem = cls.elsewhere.get(name) or f"unknown {what}{self._where_it_is(name, [*fields, *known], fields)}"
                self.errors.append(ConfigError(f"{start}{name}: {problem}", node.place))
        self.places[path], self.classes[path], hints = where, cls, field_types(cls)
        made = object.__new__(schema(cls))
        for name, field in fields.items():
            given, inner = [entries[name] for entries in layers if name in entries], start + name
            self.places[inner], self.owners[inner] = given[-1].place if given else where, (made, field)
            try:
                value = self._field(field, hints[field.name], given, inner, where)
            except ConfigError as error:
                self.errors.append(error)
                is_required = field.default is field.default_factory is dataclasses.MISSING
                (self.missing if is_required else self.replaced).add(inner)
                value = MISSING if is_required else self._field(field, hints[field.name], [], inner, where)
            object.__setattr__(made, name, value)
        return made

    def _field(self, field: dataclasses.Field, hint: Any, given: Layers, path: str, where: Place) -> Any:
        """A field's value, unresolved."""
        kind, is_named = field.metadata.get("kind"), field.metadata.get("named")
        if is_named:
            return self._named(field.metadata, given, path, where)
        if kind:
            value = self.component(given, kind, field.metadata["default"], path, where)
            if value is None and types.NoneType not in kinds(hint):
                why = f". Available: {', '.join(self.catalogue.names(kind))}" if "." in path else ": a run needs one"
                raise ConfigError(f"{path}: cannot be null{why}", self.places[path])
            return value
        if isinstance(hint, type) and issubclass(hint, Settings):
            return self.section(hint, mappings(given, path), path, f"field of {path}", where)
        if given and (item := item_settings(hint)):
            return self._items(item, given[-1], path)
        if given:
            try:
                node = added_up(given) if typing.get_origin(hint) is dict else given[-1]
                value = convert(node, hint, bool(field.metadata.get("literal")))
                if field.metadata.get("located") and value:
                    value = _located(value, node.place)
                self.given[path] = value
                return value
            except Misfit as misfit:
                raise ConfigError(f"{path}{misfit.below}: {misfit}", self.places[path]) from None
        if (default := default_of(field)) == MISSING:
            how = f'. Write it in the YAML, or give {path}="…"' if "." in path and "[" not in path else ""
            raise ConfigError(f"{path}: a value is required ({expected(hint)}){how}", where)
        return default

    def _items(self, item: type, node: Node, path: str) -> list[Any]:
        """The settings in a list, each a mapping."""
        if not isinstance(node.value, list | None):
            fields = ", ".join(field.name for field in dataclasses.fields(item))
            raise ConfigError(f"{path}: expected a list of mappings with {fields}, got {got(node.value)}", node.place)
        paths = [(f"{path}[{index}]", each) for index, each in enumerate(node.value or ())]
        return [self.section(item, mappings([each], at), at, f"field of {path}", each.place) for at, each in paths]

    def _named(self, about: Any, given: Layers, path: str, where: Place) -> Settings | dict[str, Settings]:
        """Components by name, or the one that is called as its section in the short form."""
        found: dict[str, Settings] = {}
        for name, (inner, layers, default) in entries_by_name(self.catalogue, given, path, about["default"]).items():
            with collected(self.errors):
                if settings := self.component(layers, about["kind"], default, inner, where):
                    found[name] = settings
        if about["needed"] and not found and not self.errors:
            raise ConfigError(f"{path}: cannot be null: a run needs one", self.places[path])
        return found[path] if path in self.classes else found

    def _where_it_is(self, key: str, known: list[str], fields: dict[str, dataclasses.Field]) -> str:
        """The field of this name one level deeper, or the nearest key."""
        for name, field in fields.items():
            about, inner = field.metadata, field.default_factory  # a section's own class
            if about.get("default"):
                inner = self.catalogue.find(about["kind"], about["default"]).settings
            if dataclasses.is_dataclass(inner) and key in {field.name for field in dataclasses.fields(inner)}:
                return f". Did you mean '{name}.{key}'?"
        return nearest(key, known)


def _located(value: str | list[str], place: Place) -> str | list[str]:
    """A file's name, or each of a list, in full."""
    return [_located(each, place) for each in value] if isinstance(value, list) else str(place.located(value).absolute())


def _type_of(node: Node, path: str) -> tuple[str, str, Place] | None:
    """The type that a node names, the key under which it does, and the place; None where it names none."""
    at = path
    if isinstance(node.value, dict):
        if "type" not in node.value:
            return None
        node = node.value["type"]
        at = f"{path}.type"
    elif node.value is None:
        return None
    if not node.text or isinstance(node.value, dict | list):
        raise ConfigError(f"{at}: expected a name{'' if at != path else ' or a mapping'}, got {got(node.value)}", node.place)
    name = node.value if isinstance(node.value, str) else node.text
    try:
        return str(OmegaConf.create({"type": name}).type) if "${" in name else name, at, node.place
    except OmegaConfBaseException as error:
        raise ConfigError(f"{at}: {unresolved(error)}", node.place) from error
