"""Config files and overrides as trees of text that remember where every piece was written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from threefusion.config import ConfigError
from threefusion.suggest import did_you_mean

COMMAND_LINE = "command line"
PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value")
}


@dataclass(frozen=True)
class Place:
    """Where something was written."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Scalar:
    """One value as text, before it has a type."""

    text: str
    place: Place
    quoted: bool = False
    """Written in quotes, hence surely text."""
    key: str = ""
    """For the right-hand side of an override its whole key: the text counts as it stands, or as YAML if the field is no text."""

    @property
    def is_null(self) -> bool:
        """Whether it stands for nothing."""
        return not self.quoted and self.text in ("null", "Null", "NULL", "~") + (() if self.key else ("",))


@dataclass(frozen=True)
class Mapping:
    """`key: value` lines."""

    entries: dict[str, Node]
    place: Place
    key_places: dict[str, Place]

    def key_place(self, key: str) -> Place:
        """Where `key` was written."""
        return self.key_places.get(key, self.place)


@dataclass(frozen=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    place: Place


Node = Scalar | Mapping | Sequence


def read_layers(path: Path, overrides: list[str]) -> list[Mapping]:
    """The mappings that make up a config, each to be laid over those before it: ancestors, the file itself, overrides.

    Raises:
        ConfigError: a file cannot be read, or an override is no `key=value`.
    """
    layers = _with_ancestors(path, ())
    return [*layers, read_overrides(overrides)] if overrides else layers


def _with_ancestors(path: Path, descendants: tuple[Path, ...]) -> list[Mapping]:
    resolved = path.resolve()
    document = read_file(path)
    named = document.entries.pop("extends", None)
    layers: list[Mapping] = []
    for item in named.items if isinstance(named, Sequence) else [named] if named else []:
        if not isinstance(item, Scalar):
            raise ConfigError("extends: expected a file, or a list of files", item.place)
        parent = _find_parent(item, path)
        if parent.resolve() in (*descendants, resolved):
            raise ConfigError(f"extends: {item.text!r} extends this file in turn", item.place)
        layers += _with_ancestors(parent, (*descendants, resolved))
    return [*layers, document]


def _find_parent(item: Scalar, child: Path) -> Path:
    """The file that `extends` names: relative to the child, or shipped with the package."""
    for folder in (child.parent, Path(__file__).parent):
        if (folder / item.text).is_file():
            return Path(os.path.normpath(folder / item.text))
    raise ConfigError(
        f"extends: no file {item.text!r} beside {child.name} or in the package{_near_file(child.parent / item.text)}", item.place
    )


def _near_file(path: Path) -> str:
    found = path.parent.glob("*.yaml") if path.parent.is_dir() else ()
    return did_you_mean(str(path), [str(file) for file in found])


def read_file(path: Path) -> Mapping:
    """One YAML file.

    Raises:
        ConfigError: missing, not text, not YAML, not a mapping, or a key given twice.
    """
    place = Place(str(path))
    if not path.is_file():
        raise ConfigError(f"no such file{_near_file(path)}", place)
    try:
        node = _composed(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start})", place) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place) from error
    except yaml.YAMLError as error:
        raise _not_yaml(error, place) from error
    document = Mapping({}, place, {}) if node is None else _converted(node, str(path), ())
    if not isinstance(document, Mapping):
        raise ConfigError("expected lines of the form 'key: value'", document.place)
    return document


def _composed(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


HINTS = {
    "mapping values": "Put text that holds ': ' in quotes",
    "cannot start any token": "Indent with spaces, not tabs, and put text that begins with @, % or ` in quotes",
}
"""Advice for what goes wrong most often."""


def _not_yaml(error: yaml.YAMLError, place: Place) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    return ConfigError(f"not valid YAML: {_problem(error)}", Place(place.file, mark.line + 1 if mark else None))


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    hints = [f". {hint}" for part, hint in HINTS.items() if part in problem]
    return problem + "".join(hints)


def _converted(node: yaml.Node, file: str, outer: tuple[yaml.Node, ...], fixed: Place | None = None) -> Node:
    place = fixed or Place(file, node.start_mark.line + 1)
    if node.tag not in PLAIN_TAGS:
        raise ConfigError(f"the tag {node.tag!r} is not allowed here", place)
    if node in outer:
        raise ConfigError("an alias that holds itself", place)
    outer = (*outer, node)
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, place, quoted=bool(node.style))
    if isinstance(node, yaml.SequenceNode):
        return Sequence(tuple(_converted(item, file, outer, fixed) for item in node.value), place)
    entries: dict[str, Node] = {}
    key_places: dict[str, Place] = {}
    for key, value in node.value:
        key_place = fixed or Place(file, key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError("a key must be a single word", key_place)
        if key.value in entries:
            raise ConfigError(f"{key.value}: given twice (first in line {key_places[key.value].line})", key_place)
        entries[key.value] = _converted(value, file, outer, fixed)
        key_places[key.value] = key_place
    return Mapping(entries, place, key_places)


def parsed(node: Node) -> Node:
    """The right-hand side of an override read as YAML; anything else as it is.

    Raises:
        ConfigError: it is not YAML.
    """
    if not isinstance(node, Scalar) or not node.key or node.is_null:
        return node
    try:
        composed = _composed(node.text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{node.key}: not valid YAML: {_problem(error)}", node.place) from error
    if composed is None:
        return Scalar("", node.place, quoted=True)
    return _converted(composed, node.place.file, (), node.place)


def read_overrides(overrides: list[str]) -> Mapping:
    """`a.b=value` arguments as one mapping; a later one wins.

    Raises:
        ConfigError: an argument without `=`, or without a key.
    """
    place = Place(COMMAND_LINE)
    root = Mapping({}, place, {})
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"{text!r}: expected key=value, for example seed=3", place)
        _insert(root, key.split("."), Scalar(value, place, key=key))
    return root


def _insert(mapping: Mapping, keys: list[str], value: Scalar) -> None:
    head, *rest = keys
    known = mapping.entries.get(head)
    if not rest:
        if isinstance(known, Mapping) and not value.is_null:
            new = parsed(value)
            if isinstance(new, Mapping):  # camera.batch_size=2 camera={height: 32}
                _merge(known, new)
                return
            head, mapping = "type", known  # renderer.size=4 renderer=image: both hold, in either order
        mapping.entries[head] = value
        return
    inner = known
    if isinstance(inner, Scalar):
        if inner.is_null:
            raise ConfigError(f"{inner.key}=null: given together with {value.key}, which is a part of it", mapping.place)
        inner = parsed(inner)
    if isinstance(inner, Scalar):
        inner = Mapping({"type": inner}, mapping.place, {})
    if not isinstance(inner, Mapping):
        inner = Mapping({}, mapping.place, {})
    mapping.entries[head] = inner
    _insert(inner, rest, value)


def _merge(known: Mapping, new: Mapping) -> None:
    """Put the entries of `new` into `known`, those of mappings in both one by one."""
    for key, node in new.entries.items():
        old = known.entries.get(key)
        if isinstance(old, Mapping) and isinstance(node, Mapping):
            _merge(old, node)
        else:
            known.entries[key] = node
            known.key_places[key] = new.key_place(key)
