"""Config files as layers of nodes that know their file and line."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import yaml

from threefusion.errors import ConfigError, did_you_mean

COMMAND_LINE = "command line"
PACKAGE = Path(__file__).parents[1]
SHIPPED = next(folder / "configs" for folder in (PACKAGE, PACKAGE.parent) if (folder / "configs").is_dir())
"""The configs that come with threefusion: inside the installed package, beside it in a clone."""
NULLS = ("null", "~")
OVERRIDE, ESCAPED = "override", "escaped"
"""Kinds of node: the raw right-hand side of an override; text in which `${` is escaped already."""
ESCAPED_KEY = "escaped"
"""Top-level key of a file in which every `${` of a text is written `\\${`, so that OmegaConf reads the same text."""
DEEPEST, MOST_VALUES, MOST_FILES = 32, 20_000, 100
"""Limits of nesting, also of `extends`; of values in a file, aliases expanded; and of files."""
FLOAT = re.compile(r"[-+]?(\d+\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$")
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")}


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
    of_stage: bool = False
    """An override of a stage, which comes after those of the whole run."""

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def located(self, name: str) -> Path:
        """The file or folder that is called `name` here: relative to this file, on the command line to the working directory."""
        folder = Path() if self.file == COMMAND_LINE else Path(self.file).parent
        return folder / Path(name).expanduser()


@dataclass
class Node:
    """A value and where it was written."""

    value: Any
    """None, a scalar, a list of nodes, or a dictionary of nodes."""
    place: Place
    """That of its key, in a dictionary."""
    text: str = ""
    """The characters of a scalar."""
    kind: str = ""
    """`OVERRIDE`, `ESCAPED`, or empty."""


class Override(Node):
    """The right-hand side of an override: YAML for a field that is no text, which is why it is parsed only when it is needed."""

    def __init__(self, path: str, text: str, place: Place) -> None:
        self.path, self.text, self.place, self.kind = path, text, place, OVERRIDE

    @cached_property
    def value(self) -> Any:
        """The text read as YAML.

        Raises:
            ConfigError: it is no YAML.
        """
        try:
            node = _parse(self.text, self.place)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error.problem}", self.place) from error
        return "" if node is None else node.value


Entries = dict[str, Node]
"""What a mapping holds."""
Layers = list[Node]
"""What was written for one key: later ones are laid over earlier ones."""


def plain_node(node: Node) -> Any:
    """A node as plain Python values."""
    if isinstance(node.value, dict):
        return {key: plain_node(inner) for key, inner in node.value.items()}
    return list(map(plain_node, node.value)) if isinstance(node.value, list) else node.value


def got(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else repr(value)


def mappings(layers: Layers, path: str) -> list[Entries]:
    """The entries of a section in each layer; null discards those before it.

    Raises:
        ConfigError: something else was written.
    """
    found: list[Entries] = []
    for node in layers:
        if node.value is not None and not isinstance(node.value, dict):
            raise ConfigError(f"{path}: expected a mapping, got {got(node.value)}", node.place)
        found = [] if node.value is None else [*found, node.value]
    return found


def find_config(path: Path) -> Path:
    """The config that a command line names: a file, or a shipped config by its name."""
    shipped = SHIPPED / f"{str(path).removesuffix('.yaml')}.yaml"
    return shipped if not path.exists() and shipped.is_file() else path


def read_file(path: Path) -> Node:
    """One YAML file.

    Raises:
        ConfigError: missing, not text, not YAML, not a mapping, or a key given twice.
    """
    if not path.is_file():
        raise ConfigError(f"no such file{_near_file(path)}", path)
    try:
        node = _parse(path.read_text(encoding="utf-8"), Place(str(path)))
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start})", path) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path) from error
    if node is None:
        return Node({}, Place(str(path)))
    if not isinstance(node.value, dict):
        raise ConfigError(
            f"expected 'key: value' lines, got {'a list' if isinstance(node.value, list) else repr(node.text)}", node.place
        )
    return node


def _parse(text: str, where: Place) -> Node | None:
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark and where.file != COMMAND_LINE else None
        raise ConfigError(f"not valid YAML: {_problem(error)}", Place(where.file, line)) from error
    if node is None:
        return None
    is_escaped = isinstance(node, yaml.MappingNode) and any(key.value == ESCAPED_KEY for key, _ in node.value)
    read = _Reader(where, ESCAPED if is_escaped else "").read(node, ())
    if is_escaped:
        del read.value[ESCAPED_KEY]
    return read


class _Reader:
    """Turns YAML nodes into `Node`s and refuses what no config may hold."""

    def __init__(self, where: Place, kind: str) -> None:
        self.where, self.kind, self.count = where, kind, 0

    def read(self, node: yaml.Node, above: tuple[yaml.Node, ...], key_place: Place | None = None) -> Node:
        place = self.where if self.where.file == COMMAND_LINE else Place(self.where.file, node.start_mark.line + 1)
        tag, self.count = PLAIN_TAGS.get(node.tag), self.count + 1
        if tag is None:
            raise ConfigError(f"the tag {node.tag!r} is not allowed here", place)
        if node in above:
            raise ConfigError("an alias that contains itself", place)
        if len(above) > DEEPEST or self.count > MOST_VALUES:
            raise ConfigError(
                f"more than {DEEPEST} levels of nesting, or more than {MOST_VALUES} values with aliases expanded", place
            )
        at = key_place or place
        if isinstance(node, yaml.ScalarNode):
            return Node(_scalar(node.value, tag), at, node.value, self.kind if tag == "str" else "")
        if isinstance(node, yaml.SequenceNode):
            return Node([self.read(item, (*above, node)) for item in node.value], at)
        entries: Entries = {}
        for key, value in node.value:
            read = self.read(key, (*above, node))
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError("a key must be a single word", read.place)
            if key.value in entries:
                raise ConfigError(f"{key.value}: given twice (first in line {entries[key.value].place.line})", read.place)
            entries[key.value] = self.read(value, (*above, node), read.place)
        return Node(entries, at)


def _scalar(text: str, tag: str) -> Any:
    if tag in ("bool", "null"):
        return text == "true" if tag == "bool" else None
    return {"int": int, "float": lambda digits: float(digits.lower().replace(".inf", "inf").replace(".nan", "nan")), "str": str}[
        tag
    ](text)


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


def read_layers(path: Path, below: tuple[Path, ...] = ()) -> list[Entries]:
    """The entries of a config file, each to be laid over those before it: what it extends, then itself.

    Raises:
        ConfigError: a file cannot be read, or extends itself.
    """
    document, below, layers = read_file(path).value, (*below, path.resolve()), []
    named = document.pop("extends", None)
    for item in named.value if named and isinstance(named.value, list) else [named] if named else []:
        if not item.text:
            raise ConfigError("extends: expected a file or a list of files", item.place)
        parent = _find_parent(item, path)
        if parent.resolve() in below:
            raise ConfigError(f"extends: {item.text!r} extends this file in turn", item.place)
        if len(below) > DEEPEST or len(layers) > MOST_FILES:
            raise ConfigError(f"extends: more than {MOST_FILES} files, or nested more than {DEEPEST} levels deep", item.place)
        layers += read_layers(parent, below)
    return [*layers, document]


def _find_parent(item: Node, child: Path) -> Path:
    """The file that `extends` names: relative to the child, or shipped with the package."""
    for folder in (child.parent, SHIPPED):
        if (folder / item.text).is_file():
            return Path(os.path.normpath(folder / item.text))
    problem = (
        f"extends: no file {item.text!r} beside {child.name} or among the shipped configs{_near_file(child.parent / item.text)}"
    )
    raise ConfigError(problem, item.place)


def _near_file(path: Path) -> str:
    beside = path.parent.glob("*.yaml") if path.parent.is_dir() else ()
    shipped = [file.relative_to(SHIPPED) for file in SHIPPED.rglob("*.yaml")]
    return did_you_mean(str(path), map(str, [*shipped, *beside]))
