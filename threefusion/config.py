"""YAML and overrides -> one checked, typed, frozen tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A component named in a config, checked but not built: kind, registered name, and the settings it was given."""

    kind: str
    name: str
    settings: tuple[tuple[str, Any], ...] = ()


def choose(kind: str, name: str, **settings: Any) -> Choice:
    """A `Choice` written in Python rather than YAML."""
    return Choice(kind, name, tuple(settings.items()))


def slot(kind: str, default: str | None) -> Any:
    """A dataclass field that names a nested component of `kind`; `default` is a registered name, or None for no component.

    Annotate it `Choice` (or `Choice | None`) and build it with `threefusion.registry.build(cfg.field, ...)`.
    """
    return field(default=None if default is None else Choice(kind, default), metadata={"kind": kind})
