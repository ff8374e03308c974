"""Types and values in words, and values as OmegaConf and YAML take them."""

from __future__ import annotations

import re
import types
import typing
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from threefusion.config.fields import Schedule, Settings
from threefusion.errors import did_you_mean
from threefusion.registry import entry_of, is_component

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", types.NoneType: "null"}


@cache
def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


@cache
def kinds(hint: Any) -> frozenset[Any]:
    """The members of a union without their arguments: int, list, Literal, ..."""
    return frozenset(typing.get_origin(member) or member for member in members(hint))


def is_interpolation(value: Any) -> bool:
    """Whether OmegaConf has something to resolve in it."""
    return isinstance(value, str) and re.search(r"(?<!\\)(\\\\)*\$\{", value) is not None


def escaped(value: Any) -> Any:
    """Plain values whose texts OmegaConf hands out again as they are, whatever is in them."""
    if isinstance(value, dict | list):
        return {key: escaped(inner) for key, inner in value.items()} if isinstance(value, dict) else list(map(escaped, value))
    if not isinstance(value, str):
        return value
    value = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", value)
    return "\\" + value if re.fullmatch(r"\\*\?\?\?", value) else value


def plain(value: Any) -> Any:
    """Settings, or a field's value, as numbers, text, lists and dictionaries; `type` first."""
    if isinstance(value, Schedule):
        is_constant = len(value.knots) == 1 and value.knots[0][0] == 0
        return value.knots[0][1] if is_constant else {"knots": dict(value.knots)}
    if isinstance(value, Settings):
        name = {"type": entry_of(value).name} if is_component(value) else {}
        return name | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def type_at(value: Any, hint: Any, below: str) -> tuple[Any, Any]:
    """The part of a value at `[1]` or `.key`, and its type."""
    for index, key in re.findall(r"\[(\d+)\]|\.([^\[]+)", below):
        inner = [arg for member in members(hint) for arg in typing.get_args(member) if arg is not Ellipsis]
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


def options(hint: Any) -> list[Any]:
    """The values that a type lists one by one."""
    return [
        option for member in members(hint) if typing.get_origin(member) is typing.Literal for option in typing.get_args(member)
    ]


def near_option(value: Any, hint: Any) -> str:
    """`. Did you mean …` for a value that is none of a type's options."""
    return did_you_mean(value, map(str, options(hint))) if isinstance(value, str) and options(hint) else ""


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    unset = re.search(r"Environment variable ('.*?') not found", str(error))
    return f"environment variable {unset[1]} is not set" if unset else next(iter(str(error).splitlines()), type(error).__name__)
