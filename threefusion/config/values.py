"""YAML nodes as the plain values that OmegaConf takes, and types and values in words."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from threefusion.config.document import ESCAPED, OVERRIDE, construct, entries, is_null, parsed
from threefusion.config.fields import Schedule

_TEXT = {str, Path}
_NUMBERS = {bool, int, float}
_LARGEST = 2**63


class Misfit(Exception):
    """A value does not fit its field; the message says what was expected, `below` where inside the value."""

    def __init__(self, problem: str, below: str = "") -> None:
        super().__init__(problem)
        self.below = below


def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def is_interpolation(value: Any) -> bool:
    """Whether OmegaConf has something to resolve in it."""
    return isinstance(value, str) and re.search(r"(?<!\\)(\\\\)*\$\{", value) is not None


def convert(node: yaml.Node, hint: Any) -> Any:
    """A node as plain Python: very characters for text, what YAML says for the rest. OmegaConf checks the types.

    Stricter than OmegaConf where it guesses: "3" is no number, 1 is not true, a number is finite.

    Raises:
        Misfit: the node cannot be a value of this type.
    """
    kinds = {typing.get_origin(member) or member for member in members(hint)}
    if isinstance(node, yaml.ScalarNode) and _TEXT & kinds and not kinds - _TEXT - {types.NoneType}:
        if not is_null(node) or (node.tag == OVERRIDE and types.NoneType not in kinds):
            return node.value
        if types.NoneType in kinds:
            return None
        raise Misfit(f"expected {expected(hint)}, got nothing. Put it in quotes if it is meant as text")
    node = parsed(node)
    if Schedule in kinds and isinstance(node, yaml.MappingNode):
        return _knots(node, hint)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(construct(node), hint, kinds)
    origin, inner = next(
        ((typing.get_origin(m) or m, typing.get_args(m)) for m in members(hint) if m is not types.NoneType), (Any, ())
    )
    if isinstance(node, yaml.SequenceNode) and origin in (list, tuple):
        hints = [inner[0] if inner else Any] * len(node.value) if origin is list or Ellipsis in inner else inner
        if len(hints) != len(node.value):
            raise Misfit(f"expected {expected(hint)}, got {len(node.value)} values")
        return [_below(item, part, f"[{index}]") for index, (item, part) in enumerate(zip(node.value, hints, strict=True))]
    if isinstance(node, yaml.MappingNode) and origin is dict:
        key, value = inner or (Any, Any)
        pairs = entries(node).items()
        return {_below(k, key, f".{name}") if key is not str else name: _below(v, value, f".{name}") for name, (k, v) in pairs}
    if origin is Any:
        return construct(node)
    advice = ". Put it in quotes if it is meant as text" if str in kinds else ""
    raise Misfit(f"expected {expected(hint)}, got {got(construct(node))}{advice}")


def _scalar(value: Any, hint: Any, kinds: set[Any]) -> Any:
    if is_interpolation(value) or Any in kinds:
        return value
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        value = int(value)
    numbers = _NUMBERS & kinds or ({float} if Schedule in kinds else set())
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    choices = kinds & {typing.Literal}
    wrong = (
        (isinstance(value, str) and numbers and not _TEXT & kinds | choices)
        or (isinstance(value, bool) and not kinds & {bool, str} | choices)
        or (is_number and numbers == {bool})
        or (isinstance(value, float) and numbers and float not in numbers)
        or (value is None and types.NoneType not in kinds)
        or (bool(kinds & {list, tuple, dict}) and not kinds & {str, int} and value is not None)
    )
    if is_number and not abs(value) < _LARGEST:
        raise Misfit(f"expected a finite number below 2**63, got {value}")
    if wrong:
        advice = ". Write [a, b]" if kinds & {list, tuple} else ""
        raise Misfit(f"expected {expected(hint)}, got {got(value)}{advice}")
    return value


def _below(node: yaml.Node, hint: Any, below: str) -> Any:
    try:
        return convert(node, hint)
    except Misfit as misfit:
        raise Misfit(str(misfit), below + misfit.below) from None


def _knots(node: yaml.MappingNode, hint: Any) -> dict[str, Any]:
    """`{knots: {step: value}}`, its steps as whole numbers."""
    _, knots = entries(node).get("knots", (None, None))
    if len(node.value) != 1 or not isinstance(knots, yaml.MappingNode):
        raise Misfit(f"expected {expected(hint)}, got {got(construct(node))}")
    found: dict[int, Any] = {}
    for name, (key, value) in entries(knots).items():
        step = _below(key, int, f".knots.{name}")
        if step in found or not 0 <= step < _LARGEST:
            raise Misfit("given twice" if step in found else "expected a step >= 0", f".knots.{name}")
        found[step] = _below(value, float, f".knots.{name}")
    if not found:
        raise Misfit("expected at least one knot", ".knots")
    return {"knots": found}


def to_schedule(value: Any) -> Schedule:
    """A number, or a mapping with knots, as a schedule.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, dict) and isinstance(value.get("knots"), dict):
        return Schedule(tuple(sorted((int(step), float(number)) for step, number in value["knots"].items())))
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {expected(Schedule)}, got {got(value)}")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"expected {expected(Schedule)}, got {got(value)}")
    return Schedule.constant(number)


def escaped(text: Any) -> Any:
    """Text, or a list of it, that OmegaConf hands out again as it is, whatever is in it."""
    if isinstance(text, yaml.SequenceNode):
        return [escaped(item) for item in text.value]
    if isinstance(text, yaml.Node):
        return text.value if text.tag == ESCAPED else escaped(text.value)
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)
    return "\\" + text if re.fullmatch(r"\\*\?\?\?", text) else text


def plain(value: Any) -> Any:
    """A field's value as numbers, text, lists and dictionaries; of settings, every field."""
    if isinstance(value, Schedule):
        is_constant = len(value.knots) == 1 and value.knots[0][0] == 0
        return value.knots[0][1] if is_constant else {"knots": dict(value.knots)}
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def hint_at(value: Any, hint: Any, below: str) -> tuple[Any, Any]:
    """The part of a value at `[1]` or `.key`, and its type."""
    for index, key in re.findall(r"\[(\d+)\]|\.([^\[]+)", below):
        hint = next((m for m in members(hint) if typing.get_args(m)), hint)
        inner = [arg for arg in typing.get_args(hint) if arg is not Ellipsis]
        if not inner or not isinstance(value, list | dict):
            break
        value = value[int(index)] if isinstance(value, list) else value.get(key)
        hint = inner[min(int(index), len(inner) - 1)] if index else inner[-1]
    return value, hint


def got(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else repr(value)


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", types.NoneType: "null"}


def expected(hint: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if len(members(hint)) > 1:
        distinct = [member for member in members(hint) if not (member in (int, float) and Schedule in members(hint))]
        return " or ".join(dict.fromkeys(expected(member) for member in distinct))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0])
    if origin is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)} values"
    if origin is Schedule:
        return "a number or {knots: {step: value, …}}"
    return {list: "a list", tuple: "a list", dict: "a mapping"}.get(origin) or _WORDS.get(hint, "a value")
