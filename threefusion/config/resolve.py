"""Unresolved settings -> OmegaConf, which converts, validates and interpolates -> frozen dataclasses.

Every error gets the file and line of the value that it is about.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threefusion.config.fields import Schedule
from threefusion.config.tree import Tree, field_types
from threefusion.config.values import (
    expected,
    first_line,
    got,
    is_interpolation,
    kinds,
    near_option,
    type_at,
)
from threefusion.errors import ConfigError, did_you_mean

PATH_NAMES = ("model", "path", "file", "folder", "checkpoint", "mesh")
"""Text fields with these names, or ending in _ and one of them, may name something on disk."""


def resolved(tree: Tree, cls: type, root: dict[str, Any]) -> dict[str, Any]:
    """The values of the whole tree under the fields of `cls`, checked by OmegaConf, interpolations resolved.

    Raises:
        ConfigError: a value of the wrong type, or an interpolation that fails.
    """
    known = field_types(cls)
    run = dataclasses.make_dataclass(cls.__name__, [(name, known.get(name, Any)) for name in root])
    try:
        # the nodes are used nowhere else: copying them would take a third of the time
        conf = OmegaConf.structured(run(**root), flags={"no_deepcopy_set_nodes": True})
        return OmegaConf.to_container(conf, resolve=True, throw_on_missing=True)
    except RecursionError as error:
        path = next((path for path, value in tree.given.items() if is_interpolation(value)), "")
        raise ConfigError(f"{path}: interpolations that refer to each other", tree.places[path]) from error
    except (OmegaConfBaseException, ValueError, TypeError) as error:  # a plugin's fields may have types that OmegaConf lacks
        key = getattr(error, "full_key", None) or ""
        path = max((path for path in tree.places if key.startswith(path)), key=len, default="")
        below = key.removeprefix(path)
        value, hint = type_at(tree.given.get(path), tree.fields.get(path, Any), below)
        missing = re.search(r"key '([^']+)' not found", str(error))
        problem = f"{first_line(error)}{did_you_mean(missing[1], tree.places) if missing else ''}"
        if not is_interpolation(value) and path in tree.given:
            problem = f"expected {expected(hint)}, got {got(value)}{near_option(value, hint)}"
        raise ConfigError(f"{path}{below}: {problem}", tree.places[path]) from error


def instance(tree: Tree, values: dict[str, Any], path: str) -> Any:
    """The frozen dataclass at a path from its resolved values, checked by its own `__post_init__`.

    Raises:
        ConfigError: a value out of range, or a path to nothing.
    """
    cls, given = tree.classes[path], {}
    for name, hint in field_types(cls).items():
        inner = f"{path}.{name}" if path else name
        given[name] = instance(tree, values[name], inner) if inner in tree.classes else _final(tree, values[name], hint, inner)
    for name in [name for name, hint in field_types(cls).items() if Schedule in kinds(hint) and given[name] is not None]:
        try:
            given[name] = Schedule.of(given[name])
        except ValueError as error:
            inner = f"{path}.{name}"
            raise ConfigError(f"{inner}: expected {expected(Schedule)}, got {got(given[name])}", tree.places[inner]) from error
    try:
        return cls(**given)
    except (Exception, SystemExit) as error:
        name, colon, _ = str(error).partition(":")
        known = bool(colon) and name in given
        problem = (
            " ".join(str(error).split())
            if isinstance(error, ValueError)
            else f"{cls.__name__} failed: {type(error).__name__}: {error}"
        )
        has_words = known and given[name] != "" and isinstance(given[name], int | float | str)
        at = f"{path}.{name}".lstrip(".") if known else path
        start = f"{path}.{problem}".lstrip(".") if known else f"{path}: {problem}"
        raise ConfigError(f"{start}{f', got {got(given[name])}' if has_words else ''}", tree.places[at]) from error


def _final(tree: Tree, value: Any, hint: Any, path: str) -> Any:
    if path in tree.given and (Path in kinds(hint) or path.rpartition(".")[2].rpartition("_")[2] in PATH_NAMES):
        text = str(value) if isinstance(value, str | Path) else ""
        if text.startswith(("/", "./", "../", "~")) and not os.path.exists(os.path.expanduser(text)):
            raise ConfigError(f"{path}: {text} does not exist", tree.places[path])
    return tuple(value) if isinstance(value, list) and tuple in kinds(hint) else value
