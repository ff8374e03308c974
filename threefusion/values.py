"""Text into typed values, by the annotation of the field that receives it."""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from threefusion.config import ConfigError
from threefusion.document import Mapping, Node, Scalar, Sequence, parsed
from threefusion.schedule import Schedule
from threefusion.suggest import did_you_mean

PATH_NAMES = ("model", "path", "file", "folder", "checkpoint", "mesh")
"""Text fields with these names, or ending in _ and one of them, may name something on disk."""


class Unfit(Exception):
    """A value does not have the expected form; the message says what was expected, `below` where inside the value."""

    def __init__(self, problem: str, below: str = "") -> None:
        super().__init__(problem)
        self.below = below


def convert(node: Node, annotation: Any, path: str) -> Any:
    """The value of `node` as `annotation` demands.

    Raises:
        ConfigError: it does not fit; the message begins with `path`.
    """
    try:
        return _convert(node, annotation)
    except Unfit as unfit:
        raise ConfigError(f"{path}{unfit.below}: {unfit}", node.place) from None


def got(node: Node) -> str:
    """What was written, in a few words."""
    if isinstance(node, Scalar):
        return "nothing" if node.is_null else f"the text {node.text!r}" if node.quoted else repr(node.text)
    return "a mapping" if isinstance(node, Mapping) else "a list"


def _convert(node: Node, annotation: Any) -> Any:
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return plain(node)
    if origin in (typing.Union, types.UnionType):
        return _union(node, typing.get_args(annotation))
    if annotation is str:
        return _text(node)
    reader = _READERS.get(origin or annotation)
    if reader is None:
        raise Unfit(f"fields of type {annotation} cannot be set in a config")
    return reader(parsed(node), typing.get_args(annotation))


def _text(node: Node) -> str:
    if isinstance(node, Scalar) and (node.key or not node.is_null):
        return node.text
    raise Unfit(f"expected text, got {got(node)}. Put it in quotes if it is meant as text")


def _union(node: Node, members: tuple[Any, ...]) -> Any:
    if types.NoneType in members and isinstance(node, Scalar) and node.is_null:
        return None
    # The strictest first, because anything can be text.
    order = (bool, int, float, Schedule, typing.Literal, tuple, list, dict, Path, str, Any)
    ranked = sorted((m for m in members if m is not types.NoneType), key=lambda m: order.index(typing.get_origin(m) or m))
    reasons = []
    for member in ranked:
        try:
            return _convert(node, member)
        except Unfit as unfit:
            reasons.append(str(unfit))
    if len(ranked) == 1:
        raise Unfit(reasons[0].replace(", got", " or null, got") if types.NoneType in members else reasons[0])
    options = tuple(
        option for member in ranked if typing.get_origin(member) is typing.Literal for option in typing.get_args(member)
    )
    raise Unfit(f"expected {_either(members)}, got {got(node)}{_near_option(node, options)}")


def _bool(node: Node, _: tuple[Any, ...]) -> bool:
    if isinstance(node, Scalar) and not node.quoted and node.text in ("true", "false"):
        return node.text == "true"
    raise Unfit(f"expected true or false, got {got(node)}")


def _int(node: Node, _: tuple[Any, ...]) -> int:
    if isinstance(node, Scalar) and not node.quoted:
        try:
            return int(node.text)
        except ValueError:
            pass
        if "e" in node.text.lower() and (number := _number(node.text)) is not None and number.is_integer():
            return int(number)
    raise Unfit(f"expected a whole number, got {got(node)}")


def _float(node: Node, _: tuple[Any, ...]) -> float:
    number = _number(node.text) if isinstance(node, Scalar) and not node.quoted else None
    if number is None:
        raise Unfit(f"expected a number, got {got(node)}")
    return number


def _number(text: str) -> float | None:
    """Also what YAML 1.1 takes for text (`1e-3`) or spells its own way (`.inf`)."""
    try:
        number = float(text.replace(".inf", "inf"))
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _literal(node: Node, options: tuple[Any, ...]) -> Any:
    for option in options:
        text = str(option).lower() if isinstance(option, bool) else str(option)
        if isinstance(node, Scalar) and node.text == text and not (node.quoted and not isinstance(option, str)):
            return option
    raise Unfit(f"expected one of {', '.join(map(str, options))}, got {got(node)}{_near_option(node, options)}")


def _near_option(node: Node, options: tuple[Any, ...]) -> str:
    return did_you_mean(node.text, map(str, options)) if isinstance(node, Scalar) else ""


def _tuple(node: Node, members: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = len(members) == 2 and members[1] is Ellipsis
    if not isinstance(node, Sequence) or (not repeated and len(node.items) != len(members)):
        wanted = "a list" if repeated else f"a list of {len(members)} values"
        count = f" of {len(node.items)}" if isinstance(node, Sequence) else ""
        raise Unfit(f"expected {wanted}, got {got(node)}{count}")
    kinds = [members[0]] * len(node.items) if repeated else members
    return tuple(_inner(item, kind, f"[{place}]") for place, (item, kind) in enumerate(zip(node.items, kinds, strict=True)))


def _list(node: Node, members: tuple[Any, ...]) -> list[Any]:
    if not isinstance(node, Sequence):
        raise Unfit(f"expected a list, got {got(node)}. Write [a, b]")
    return [_inner(item, *members, f"[{place}]") for place, item in enumerate(node.items)]


def _inner(node: Node, annotation: Any, below: str) -> Any:
    """A value inside another one; complaints say where."""
    try:
        return _convert(node, annotation)
    except Unfit as unfit:
        raise Unfit(str(unfit), below + unfit.below) from None


def _dict(node: Node, members: tuple[Any, ...]) -> dict[Any, Any]:
    if not isinstance(node, Mapping):
        raise Unfit(f"expected 'name: value' lines, got {got(node)}")
    key_type, value_type = members or (Any, Any)
    keys = {key: key if key_type in (str, Any) else _inner(Scalar(key, node.place), key_type, f".{key}") for key in node.entries}
    return {keys[key]: _inner(value, value_type, f".{key}") for key, value in node.entries.items()}


def _schedule(node: Node, _: tuple[Any, ...]) -> Schedule:
    if isinstance(node, Scalar):
        try:
            return Schedule.constant(_float(node, ()))
        except Unfit:
            raise Unfit(f"expected a number or {{knots: {{step: value, …}}}}, got {got(node)}") from None
    knots = node.entries.get("knots") if isinstance(node, Mapping) else None
    if knots is None or len(node.entries) != 1 or not isinstance(knots, Mapping):
        raise Unfit(f"expected a number or {{knots: {{step: value, …}}}}, got {got(node)}")
    try:
        return Schedule(tuple(sorted(_inner(knots, dict[int, float], ".knots").items())))
    except ValueError as error:
        raise Unfit(str(error)) from None


def _path(node: Node, _: tuple[Any, ...]) -> Path:
    return Path(_text(node))


_READERS: dict[Any, Callable[[Node, tuple[Any, ...]], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    typing.Literal: _literal,
    tuple: _tuple,
    list: _list,
    dict: _dict,
    Schedule: _schedule,
    Path: _path,
}


def plain(node: Node) -> Any:
    """The value of `node` where no type is known: what YAML says, with `1e-3` a number."""
    node = parsed(node)
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    if node.is_null:
        return None
    for reader in (_bool, _int, _float):
        try:
            return reader(node, ())
        except Unfit:
            pass
    return node.text


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", types.NoneType: "null"}


def expected(annotation: Any) -> str:
    """A type in words."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _either(members)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, members))}" if len(members) > 1 else str(members[0])
    if origin is tuple:
        return "a list" if Ellipsis in members else f"a list of {len(members)} values"
    if annotation is Schedule:
        return "a number or {knots: {step: value, …}}"
    if origin in (list, dict) or annotation in (list, dict):
        return "a list" if (origin or annotation) is list else "'name: value' lines"
    return _WORDS.get(annotation, "a value")


def _either(members: tuple[Any, ...]) -> str:
    distinct = [member for member in members if not (member in (int, float) and Schedule in members)]
    return " or ".join(dict.fromkeys(expected(member) for member in distinct))


def names_file(field: str, annotation: Any) -> bool:
    """Whether a field may hold a path."""
    if annotation is Path or Path in typing.get_args(annotation):
        return True
    return field in PATH_NAMES or field.endswith(tuple(f"_{name}" for name in PATH_NAMES))


def check_exists(value: Any, node: Node, path: str) -> None:
    """Refuse text that begins like a path to something that is not there.

    Raises:
        ConfigError: nothing is there.
    """
    text = str(value) if isinstance(value, Path) else value
    if isinstance(text, str) and text.startswith(("/", "./", "../", "~")) and not os.path.exists(os.path.expanduser(text)):
        raise ConfigError(f"{path}: {text} does not exist", node.place)
