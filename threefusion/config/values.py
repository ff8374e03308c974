"""Types and values in words, and what was written as values of a field's type, as OmegaConf and YAML take them."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from threefusion.config.document import ESCAPED, NULLS, OVERRIDE, Node, got, plain_node
from threefusion.config.fields import Schedule, Settings, key_of
from threefusion.errors import did_you_mean, first_line
from threefusion.registry import entry_of, is_component

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", types.NoneType: "null"}
_TEXT = {str, Path, types.NoneType}
_FITS = {bool: {bool}, int: {int, float, Schedule}, float: {float, Schedule}, str: {str}, types.NoneType: {types.NoneType}}
"""By type of a value in YAML, the types of fields that take it. Stricter than OmegaConf, for which "3" is 3 and 1 is true."""
_LARGEST = 2**63


class Misfit(Exception):
    """A value does not fit its field; the message says what was expected, `below` where inside the value."""

    def __init__(self, problem: str, below: str = "") -> None:
        super().__init__(problem)
        self.below = below


@cache
def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


@cache
def kinds(hint: Any) -> frozenset[Any]:
    """The members of a union without their arguments: int, list, Literal, ..."""
    return frozenset(typing.get_origin(member) or member for member in members(hint))


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The types of a settings class's fields."""
    return typing.get_type_hints(cls)


@cache
def item_settings(hint: Any) -> type[Settings] | None:
    """The settings class whose instances a field of type `tuple[Settings, ...]` lists; None for another type."""
    item = next(iter(typing.get_args(hint)), None) if typing.get_origin(hint) is tuple else None
    return item if isinstance(item, type) and issubclass(item, Settings) else None


def is_interpolation(value: Any) -> bool:
    """Whether OmegaConf has something to resolve in it."""
    return isinstance(value, str) and re.search(r"(?<!\\)(\\\\)*\$\{", value) is not None


def escaped(value: Any) -> Any:
    """Plain values whose texts OmegaConf hands out again as they are, whatever is in them."""
    if isinstance(value, dict | list):
        return {key: escaped(inner) for key, inner in value.items()} if isinstance(value, dict) else list(map(escaped, value))
    if not isinstance(value, str) or ("$" not in value and "?" not in value):
        return value
    value = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", value)
    return "\\" + value if re.fullmatch(r"\\*\?\?\?", value) else value


def unescaped(value: Any) -> Any:
    """The plain values that became `value` when they were escaped."""
    if isinstance(value, dict | list):
        return {key: unescaped(inner) for key, inner in value.items()} if isinstance(value, dict) else list(map(unescaped, value))
    if not isinstance(value, str):
        return value
    value = re.sub(r"(\\*)\\\$\{", lambda found: found[1][: len(found[1]) // 2] + "${", value)
    return value[1:] if re.fullmatch(r"\\+\?\?\?", value) else value


def plain(value: Any) -> Any:
    """Settings, or a field's value, as numbers, text, lists and dictionaries; `type` first."""
    if isinstance(value, Schedule):
        is_constant = len(value.knots) == 1 and value.knots[0][0] == 0
        return value.knots[0][1] if is_constant else {"knots": dict(value.knots)}
    if isinstance(value, Settings):
        name = {"type": entry_of(value).name} if is_component(value) else {}
        return name | {key_of(field): plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def convert(node: Node, hint: Any, literal: bool, below: str = "") -> Any:
    """What was written, as plain Python: very characters for text, what YAML says for the rest.

    Raises:
        Misfit: it is no value of this type.
    """
    kind = kinds(hint)
    if node.text == MISSING and not literal and node.kind != ESCAPED:
        raise Misfit(f"expected {expected(hint)}, got {MISSING!r}, which stands for a missing value", below)
    if kind <= _TEXT and (node.kind == OVERRIDE or not isinstance(node.value, dict | list)):
        is_null = node.text in NULLS if node.kind == OVERRIDE else node.value is None
        if is_null and types.NoneType in kind:
            return None
        if not is_null or node.kind == OVERRIDE:
            return escaped(node.text) if literal and node.kind != ESCAPED else node.text
    value = node.value
    inner = next((typing.get_args(member) for member in members(hint) if typing.get_args(member)), ())
    if isinstance(value, dict) and Schedule in kind:
        return _knots(value, hint, below)
    if isinstance(value, list) and kind & {list, tuple}:
        parts = [inner[0] if inner else Any] * len(value) if list in kind or Ellipsis in inner else inner
        if len(parts) != len(value):
            raise Misfit(f"expected {expected(hint)}, got {len(value)} values", below)
        return [convert(*item, literal, f"{below}[{i}]") for i, item in enumerate(zip(value, parts, strict=True))]
    if isinstance(value, dict) and dict in kind:
        part = inner[1] if inner else Any
        return {key: convert(item, part, literal, f"{below}.{key}") for key, item in value.items()}
    if Any in kind:
        return plain_node(node)
    return _scalar(value, hint, below)


def _scalar(value: Any, hint: Any, below: str) -> Any:
    """A value that is no container, checked."""
    kind, choices = kinds(hint), options(hint)
    if isinstance(value, str) and "${" in value:
        return value
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        raise Misfit(f"expected {'a finite number below 2**63' if value == value else expected(hint)}, got {value}", below)
    if isinstance(value, float) and value.is_integer() and int in kind and float not in kind:
        value = int(value)
    if not kind & _FITS.get(type(value), set()) and (value not in choices or type(value) not in map(type, choices)):
        advice = ". Write [a, b]" if kind & {list, tuple} else ""
        if str in kind:
            advice = ". Put it in quotes if it is meant as text"
        raise Misfit(f"expected {expected(hint)}, got {got(value)}{advice}{near_option(value, hint)}", below)
    return value


def _knots(value: dict[str, Any], hint: Any, below: str) -> dict[str, Any]:
    """`{knots: {step: value}}`, its steps as whole numbers."""
    knots = value.get("knots")
    if len(value) != 1 or not isinstance(knots.value if knots else None, dict):
        raise Misfit(f"expected {expected(hint)}, got a mapping", below)
    found: dict[int, Any] = {}
    for name, node in knots.value.items():
        try:
            step = float(name)
        except ValueError:
            step = math.nan
        if step in found or not (step.is_integer() and 0 <= step < _LARGEST):
            problem = "given twice" if step in found else f"expected a step, a whole number >= 0, got {name!r}"
            raise Misfit(problem, f"{below}.knots.{name}")
        found[int(step)] = convert(node, float, False, f"{below}.knots.{name}")
    if not found:
        raise Misfit("expected at least one knot", f"{below}.knots")
    return {"knots": found}


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


@cache
def options(hint: Any) -> list[Any]:
    """The values that a type lists one by one."""
    literals = [member for member in members(hint) if typing.get_origin(member) is typing.Literal]
    return [option for member in literals for option in typing.get_args(member)]


def near_option(value: Any, hint: Any) -> str:
    """`. Did you mean …` for a value that is none of a type's options."""
    return did_you_mean(value, map(str, options(hint))) if isinstance(value, str) and options(hint) else ""


def unresolved(error: Exception) -> str:
    """Why an interpolation has no value, in one line."""
    unset = re.search(r"Environment variable ('.*?') not found", str(error))
    return f"environment variable {unset[1]} is not set" if unset else first_line(error)
