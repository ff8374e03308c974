"""Config files and overrides as layers of YAML nodes, which know the file and line of every value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from threefusion.errors import ConfigError, did_you_mean

COMMAND_LINE = "command line"
OVERRIDE, ESCAPED = "!override", "!escaped"
"""Tags of the raw right-hand side of an override, and of text in which `${` is escaped already."""
ESCAPED_KEY = "escaped"
"""Top-level key of a file in which every `${` of a text is written `\\${`, so that OmegaConf reads the same text."""
DEEPEST, MOST_VALUES, MOST_FILES = 32, 20_000, 100
"""Limits of nesting, also of `extends`; of values in a file, aliases expanded; and of files."""
FLOAT = re.compile(r"[-+]?(\d+\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$")


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML's plain types without its surprises: `yes` and `017` are text, `1e-3` is a number."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("bool", re.compile(r"(true|false)$"), "tf"),
    ("int", re.compile(r"[-+]?(0|[1-9]\d*)$"), "-+0123456789"),
    ("float", FLOAT, "-+0123456789."),
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


@dataclass(frozen=True)
class Place:
    """Where something was written."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


def place(node: yaml.Node) -> Place:
    """Where a node was written; `_walk` put it there."""
    return node.start_mark


def entries(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """key -> (key node, value node)."""
    return {key.value: (key, value) for key, value in node.value}


def is_null(node: yaml.Node) -> bool:
    """Whether a node stands for nothing."""
    return node.tag == "tag:yaml.org,2002:null" or (node.tag == OVERRIDE and node.value in ("null", "~"))


def construct(node: yaml.Node) -> Any:
    """A node as plain Python values."""
    return Loader("").construct_document(node)


def got(node: yaml.Node) -> str:
    """What was written, in a few words."""
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if node.tag == "tag:yaml.org,2002:null" and not node.value else repr(node.value)
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


def read_file(path: Path) -> yaml.MappingNode:
    """One YAML file.

    Raises:
        ConfigError: missing, not text, not YAML, not a mapping, or a key given twice.
    """
    if not path.is_file():
        raise ConfigError(f"no such file{_near_file(path)}", path)
    try:
        node = _compose(path.read_text(encoding="utf-8"), Place(str(path)))
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start})", path) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path) from error
    if node is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [], Place(str(path)))
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"expected 'key: value' lines, got {got(node)}", place(node))
    return node


def parsed(node: yaml.Node, path: str = "") -> yaml.Node:
    """The right-hand side of the override of `path` read as YAML; any other node as it is."""
    if node.tag != OVERRIDE:
        return node
    try:
        found = _compose(node.value, Place(COMMAND_LINE))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.problem}" if path else error.problem, error.place) from error
    return yaml.ScalarNode("tag:yaml.org,2002:str", "", node.start_mark) if found is None else found


def _compose(text: str, where: Place) -> yaml.Node | None:
    """YAML as nodes, checked for what no config may hold; all of them get places."""
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = Place(where.file, mark.line + 1) if mark and where.file != COMMAND_LINE else where
        raise ConfigError(f"not valid YAML: {_problem(error)}", line) from error
    for count, inner in enumerate(_walk(node, (), where) if node else ()):
        if count == MOST_VALUES:
            raise ConfigError(f"more than {MOST_VALUES} values, aliases expanded", place(inner))
    return node


def _walk(node: yaml.Node, above: tuple[yaml.Node, ...], where: Place) -> Iterator[yaml.Node]:
    if not isinstance(node.start_mark, Place):
        node.start_mark = where if where.file == COMMAND_LINE else Place(where.file, node.start_mark.line + 1)
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.removeprefix("tag:yaml.org,2002:") not in PLAIN_TAGS:
        raise ConfigError(f"the tag {node.tag!r} is not allowed here", place(node))
    if node in above:
        raise ConfigError("an alias that contains itself", place(node))
    if len(above) > DEEPEST:
        raise ConfigError(f"nested more than {DEEPEST} levels deep", place(node))
    yield node
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, Place] = {}
        for key, _ in node.value:
            yield from _walk(key, (*above, node), where)
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"a key must be a single word, got {got(key)}", place(key))
            if key.value in seen:
                raise ConfigError(f"{key.value}: given twice (first in line {seen[key.value].line})", place(key))
            seen[key.value] = place(key)
    for item in [] if isinstance(node, yaml.ScalarNode) else node.value:
        yield from _walk(item[1] if isinstance(item, tuple) else item, (*above, node), where)


PLAIN_TAGS = ("str", "int", "float", "bool", "null", "map", "seq")
HINTS = {
    "mapping values": "Put text that holds ': ' in quotes",
    "cannot start any token": "Indent with spaces, not tabs, and put text that begins with @, % or ` in quotes",
}
"""Advice for the most frequent mistakes."""


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    return problem + "".join(f". {hint}" for part, hint in HINTS.items() if part in problem)


def read_layers(path: Path, below: tuple[Path, ...] = ()) -> list[yaml.MappingNode]:
    """The mappings of a config file, each to be laid over those before it: what it extends, then itself.

    Raises:
        ConfigError: a file cannot be read, or extends itself.
    """
    document = read_file(path)
    below = (*below, path.resolve())
    layers = []
    key, named = entries(document).get("extends", (None, None))
    for item in named.value if isinstance(named, yaml.SequenceNode) else [named] if named else []:
        if not isinstance(item, yaml.ScalarNode) or is_null(item):
            raise ConfigError(f"extends: expected a file or a list of files, got {got(item)}", place(item))
        parent = _find_parent(item, path)
        if parent.resolve() in below:
            raise ConfigError(f"extends: {item.value!r} extends this file in turn", place(item))
        if len(below) > DEEPEST or len(layers) > MOST_FILES:
            raise ConfigError(f"extends: more than {MOST_FILES} files, or nested more than {DEEPEST} levels deep", place(item))
        layers += read_layers(parent, below)
    if ESCAPED_KEY in entries(document):
        for node in _walk(document, (), Place(str(path))):
            node.tag = ESCAPED if (node.tag.endswith(":str") and "$" in node.value) or "???" in node.value else node.tag
    document.value = [pair for pair in document.value if pair[0] is not key]
    return [*layers, document]


def _find_parent(item: yaml.ScalarNode, child: Path) -> Path:
    """The file that `extends` names: relative to the child, or shipped with the package."""
    for folder in (child.parent, Path(__file__).parents[1]):
        if (folder / item.value).is_file():
            return Path(os.path.normpath(folder / item.value))
    problem = f"extends: no file {item.value!r} beside {child.name} or in the package{_near_file(child.parent / item.value)}"
    raise ConfigError(problem, place(item))


def _near_file(path: Path) -> str:
    found = path.parent.glob("*.yaml") if path.parent.is_dir() else ()
    return did_you_mean(str(path), [str(file) for file in found])


@dataclass(frozen=True)
class Override:
    """`key=value`, `+key=value` (a new entry) or `~key` (drop what was written)."""

    mode: str
    keys: tuple[str, ...]
    value: yaml.ScalarNode

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(self.keys)

    @property
    def layer(self) -> yaml.MappingNode:
        """The override as a mapping to be laid over others; its value stays text until the type of its field is known."""
        node: yaml.Node = self.value
        for key in reversed(self.keys):
            name = yaml.ScalarNode("tag:yaml.org,2002:str", key, self.value.start_mark)
            node = yaml.MappingNode("tag:yaml.org,2002:map", [(name, node)], self.value.start_mark)
        return node


def read_overrides(texts: list[str]) -> list[Override]:
    """The overrides of a command line.

    Raises:
        ConfigError: one of them is malformed, or sets a part of what an earlier one sets to null.
    """
    found: list[Override] = []
    for text in texts:
        override = _read_override(text)
        for earlier in found:
            below = override.keys[: len(earlier.keys)] == earlier.keys and override.keys != earlier.keys
            if below and override.mode != "+" and is_null(earlier.value):
                problem = f"{earlier.key}=null: given together with {override.key}, which is a part of it"
                raise ConfigError(problem, place(earlier.value))
        found.append(override)
    return found


def _read_override(text: str) -> Override:
    where = Place(COMMAND_LINE)
    mode = text[:1] if text.startswith(("+", "~")) else ""
    key, equals, value = text.removeprefix(mode).partition("=")
    keys = tuple(key.split("."))
    if bool(equals) == (mode == "~") or not all(keys):
        expected = "~key" if mode == "~" else f"{mode}key=value, for example {(mode and '+loss.sparsity.weight=1') or 'seed=3'}"
        raise ConfigError(f"{text!r}: expected {expected}", where)
    if len(keys) > DEEPEST:
        raise ConfigError(f"'{text[:60]}…': nested more than {DEEPEST} levels deep", where)
    return Override(mode, keys, yaml.ScalarNode(OVERRIDE, value, where))


def apply(override: Override, layers: list[yaml.MappingNode]) -> None:
    """Append an override to the layers; `~key` drops what they hold instead.

    Raises:
        ConfigError: `~` where nothing was written, `+` where something was.
    """
    where, written = place(override.value), [found for layer in layers for found in _pairs(layer, override.keys)]
    if override.mode == "~":
        if not written:
            siblings = [key for layer in layers for key in _dotted(layer)]
            raise ConfigError(f"~{override.key}: nothing to remove{did_you_mean(override.key, siblings)}", where)
        if len(override.keys) == 1:
            raise ConfigError(f"~{override.key}: not for a whole section; write {override.key}=null or leave it out", where)
        for mapping, pair in written:
            mapping.value.remove(pair)
        return
    if override.mode == "+" and any(not is_null(pair[1]) for _, pair in written[-1:]):
        raise ConfigError(f"+{override.key}: exists already ({place(written[-1][1][0])}); write it without +", where)
    layers.append(override.layer)


def is_written(layers: list[yaml.MappingNode], keys: tuple[str, ...]) -> bool:
    """Whether a dotted key is given in one of the layers."""
    return any(_pairs(layer, keys) for layer in layers)


def _pairs(node: yaml.Node, keys: tuple[str, ...]) -> list[tuple[yaml.MappingNode, tuple[yaml.Node, yaml.Node]]]:
    """The entry at a dotted key, whose parts may themselves be written with dots, with the mapping that holds it."""
    found = []
    for pair in node.value if isinstance(node, yaml.MappingNode) else ():
        parts = tuple(pair[0].value.split("."))
        if parts == keys:
            found.append((node, pair))
        elif parts == keys[: len(parts)]:
            found += _pairs(pair[1], keys[len(parts) :])
    return found


def _dotted(node: yaml.Node) -> Iterator[str]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        yield key.value
        yield from (f"{key.value}.{inner}" for inner in _dotted(value))
