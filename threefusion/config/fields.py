"""What settings dataclasses are made of. Loads no torch."""

from __future__ import annotations

import dataclasses
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

Number = int | float


@dataclass(frozen=True)
class Schedule:
    """A piecewise-linear function of the optimiser step, constant before the first knot and after the last.

    In YAML a plain number, or `{knots: {0: 10, 5000: 1000}}`.
    """

    knots: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.knots]
        if not steps or steps != sorted(set(steps)) or steps[0] < 0:
            raise ValueError("expected at least one knot, with different steps >= 0 in increasing order")

    @classmethod
    def constant(cls, value: int | float) -> Schedule:
        """The schedule that is `value` at every step."""
        return cls(((0, float(value)),))

    @classmethod
    def of(cls, value: Any) -> Schedule:
        """A number, or a mapping with knots, as a schedule.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(value, dict) and isinstance(value.get("knots"), dict):
            return cls(tuple(sorted((int(step), float(number)) for step, number in value["knots"].items())))
        if isinstance(value, bool) or not isinstance(value, int | float | str) or not math.isfinite(number := float(value)):
            raise ValueError("expected a finite number or knots")
        return cls(((0, number),))

    def __call__(self, step: int) -> float:
        """The value at optimiser step `step`."""
        index = bisect_right(self.knots, step, key=lambda knot: knot[0])
        if index == 0:
            return self.knots[0][1]
        if index == len(self.knots):
            return self.knots[-1][1]
        (step0, value0), (step1, value1) = self.knots[index - 1], self.knots[index]
        return value0 + (value1 - value0) * (step - step0) / (step1 - step0)

    @property
    def largest(self) -> float:
        """The largest value it ever takes."""
        return max(value for _, value in self.knots)


@dataclass(frozen=True)
class Range:
    """The interval that every number of a field lies in; `low` and `high` belong to it unless it is open there."""

    low: Number
    high: Number
    open_low: bool = False
    open_high: bool = False
    increasing: bool = False
    """The field holds two numbers in increasing order."""

    def __str__(self) -> str:
        text = f"{'(' if self.open_low else '['}{_short(self.low)}, {_short(self.high)}{')' if self.open_high else ']'}"
        return f"two numbers in increasing order in {text}" if self.increasing else f"in {text}"

    def holds(self, value: Any) -> bool:
        """Whether all numbers of `value` lie in the interval."""
        found = list(numbers(value))
        inside = all(self.low <= number <= self.high for number in found)
        at_open_end = (self.open_low and self.low in found) or (self.open_high and self.high in found)
        return inside and not at_open_end and not (self.increasing and found != sorted(found))


@dataclass(frozen=True)
class Settings:
    """Base class of all settings: frozen dataclasses whose fields a config can set.

    Ranges that fields declare with `bounded` are checked on construction; a subclass with a `__post_init__` calls this one first.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """What to write instead of names that are no fields."""

    def __post_init__(self) -> None:
        for name, problem in out_of_range(type(self), vars(self)).items():
            raise ValueError(f"{name}: {problem}")


def out_of_range(cls: type, values: Mapping[str, Any]) -> dict[str, str]:
    """What is expected of the values that lie outside their range, by field."""
    wrong = {name: limits for name, limits in ranges(cls).items() if not limits.holds(values[name])}
    return {name: f"expected {limits if limits.increasing else f'a value {limits}'}" for name, limits in wrong.items()}


@cache
def ranges(cls: type) -> dict[str, Range]:
    """The declared ranges of a settings class, by field."""
    return {f.name: f.metadata["range"] for f in dataclasses.fields(cls) if "range" in f.metadata}


def bounded(default: Any, low: Number, high: Number, *, open_low: bool = False, open_high: bool = False) -> Any:
    """A field whose number (or each number of its tuple, dictionary or schedule) lies between `low` and `high`."""
    return _default(default, {"range": Range(low, high, open_low, open_high)})


def interval(default: tuple[float, float] | None, low: Number, high: Number) -> Any:
    """A field that holds two numbers in increasing order between `low` and `high`."""
    return _default(default, {"range": Range(low, high, increasing=True)})


def slot(kind: str, default: str | None) -> Any:
    """A field that holds the settings of a nested component of `kind`; `default` is a registered name, or None for no component.

    Annotate it `Settings` (or `Settings | None`) and build the component with `threefusion.registry.build(cfg.field, ...)`.
    """

    def make() -> Settings | None:
        from threefusion.config.catalogue import settings_class

        return None if default is None else settings_class(kind, default)()

    return field(default_factory=make, metadata={"kind": kind, "default": default})


def slots(kind: str, default: str | None, needed: bool = False) -> Any:
    """A field, called `kind` in YAML, that holds components by name; one of type `default` if nothing is written."""
    return field(default_factory=dict, metadata={"kind": kind, "default": default, "key": kind, "needed": needed, "named": True})


def key_of(field: dataclasses.Field) -> str:
    """What a field is called in YAML."""
    return field.metadata.get("key", field.name)


def literal(default: Any) -> Any:
    """A field of text, or of a list of it, that keeps its characters exactly as written: nothing is interpolated."""
    return _default(default, {"literal": True})


def located(default: Any) -> Any:
    """A field with the name of a file or a folder, or a list of them, characters as written. A relative one starts where the
    file lies that names it, on the command line in the working directory; it is kept in full."""
    return _default(default, {"literal": True, "located": True})


def check_folder_name(field: str, text: str) -> None:
    """Refuse a text that a folder is named after, and that would lead elsewhere or can be no name.

    Raises:
        ValueError: it begins with a dot, holds a slash or a control character, or is too long.
    """
    if not re.fullmatch(r"[^./\\\0-\x1f\x7f][^/\\\0-\x1f\x7f]*", text) or len(text.encode(errors="replace")) > 200:
        raise ValueError(f"{field}: expected the name of a folder: at most 200 bytes, no slashes, no dot at its beginning")


def check_color(field: str, text: str) -> None:
    """Refuse a text that is no colour.

    Raises:
        ValueError: it is anything but # and six hexadecimal digits.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(f"{field}: expected # and six hexadecimal digits")


def numbers(value: Any) -> Iterator[Number]:
    """Every number in a field's value."""
    if isinstance(value, Schedule):
        yield from (number for _, number in value.knots)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list | tuple | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)


def _default(default: Any, metadata: dict[str, Any]) -> Any:
    if default is dataclasses.MISSING:
        return field(metadata=metadata, kw_only=True)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _short(number: Number) -> str:
    return str(number) if isinstance(number, int) or math.isinf(number) else f"{number:g}"
