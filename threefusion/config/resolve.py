"""Unresolved settings -> OmegaConf, which converts, validates and interpolates -> frozen dataclasses.

Every error gets the file and line of the value that it is about.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from threefusion.config.document import Entries, Place
from threefusion.config.fields import Schedule, key_of, out_of_range
from threefusion.config.tree import Tree, default_of
from threefusion.config.values import expected, field_types, got, is_interpolation, item_settings, kinds, unresolved
from threefusion.errors import ConfigError, did_you_mean

PATH_NAMES = ("model", "path", "file", "folder", "checkpoint", "mesh")
"""Text fields with these names, or ending in _ and one of them, may name something on disk."""


def read(tree: Tree, cls: type, layers: list[Entries], what: str, where: Place, known: Iterable[str] = ()) -> Any:
    """The settings `cls` that the layers describe, checked as a whole; `known` are keys beside its fields.

    Raises:
        ConfigError: the first error, with the others.
    """
    values = _resolved(tree, tree.section(cls, layers, "", what, where, known))
    config = _instance(tree, values, "")
    if tree.errors:
        raise ConfigError.of(tree.errors)
    return config


def _resolved(tree: Tree, root: Any) -> dict[str, Any]:
    """The values of the whole tree, checked by OmegaConf, interpolations resolved; what cannot be resolved gets its default."""
    while True:
        try:
            # the nodes are used nowhere else: copying them would take a third of the time
            conf = OmegaConf.structured(root, flags={"no_deepcopy_set_nodes": True})
            return OmegaConf.to_container(conf, resolve=True)
        except RecursionError:
            path = next((path for path, value in tree.given.items() if is_interpolation(value)), "")
            problem = f"{path}: interpolations that refer to each other"
        except (OmegaConfBaseException, ValueError, TypeError) as error:  # plugins may have types that OmegaConf lacks
            key = getattr(error, "full_key", None) or ""
            path = max((path for path in tree.places if key.startswith(path)), key=len, default="")
            missing = re.search(r"key '([^']+)' not found", str(error))
            problem = f"{key}: {unresolved(error)}{did_you_mean(missing[1], tree.places) if missing else ''}"
            problem = "" if tree.errors and isinstance(error, InterpolationToMissingValueError) else problem
        if problem:
            tree.errors.append(ConfigError(problem, tree.places[path]))
        if path not in tree.given:
            raise ConfigError.of(tree.errors)
        del tree.given[path]
        settings, field = tree.owners[path]
        object.__setattr__(settings, key_of(field), default_of(field))
        tree.missing |= {path} if default_of(field) == MISSING else set()


def _instance(tree: Tree, values: dict[str, Any], path: str) -> Any:
    """The frozen dataclass at a path from its resolved values, checked by its own `__post_init__`; None if it is wrong."""
    cls, given = tree.classes[path], {}
    for field in dataclasses.fields(cls):
        inner, value = f"{path}.{key_of(field)}" if path else key_of(field), values[key_of(field)]
        if inner in tree.classes:
            settings = _instance(tree, value, inner)
            if settings is None and dataclasses.is_dataclass(field.default_factory):
                settings = field.default_factory()  # of a wrong section, so that the whole is checked too
            given[field.name] = {inner: settings} if "named" in field.metadata else settings
        elif "named" in field.metadata:
            given[field.name] = {name: _instance(tree, settings, f"{inner}.{name}") for name, settings in value.items()}
        elif item_settings(field_types(cls)[field.name]):
            items = [_instance(tree, settings, f"{inner}[{index}]") for index, settings in enumerate(value)]
            given[field.name] = tuple(settings for settings in items if settings is not None)
        else:
            given[field.name] = _final(tree, value, field_types(cls)[field.name], inner)
    if not tree.missing.isdisjoint(f"{path}.{name}".lstrip(".") for name in values):
        return None
    for name, problem in out_of_range(cls, given).items():
        _refuse(tree, path, given, f"{name}: {problem}")
        _, field = tree.owners[f"{path}.{name}".lstrip(".")]
        given[name] = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    try:
        return cls(**given)
    except (Exception, SystemExit) as error:
        # a default that is no config, such as a prompt without a text; or what a wrong part of it brings about
        if path not in tree.replaced and (isinstance(error, ValueError) or not tree.errors):
            is_own = isinstance(error, ValueError)
            _refuse(tree, path, given, str(error) if is_own else f"{cls.__name__} failed: {type(error).__name__}: {error}")
        return None


def _refuse(tree: Tree, path: str, given: dict[str, Any], problem: str) -> None:
    """Note a problem of the settings at a path, or of the field that it begins with."""
    name, colon, _ = problem.partition(":")
    is_field = bool(colon) and name in given
    at = f"{path}.{name}".lstrip(".") if is_field else path
    has_words = is_field and given[name] != "" and isinstance(given[name], int | float | str)
    start = f"{path}.{problem}".lstrip(".") if is_field else f"{path}: {problem}"
    tree.errors.append(ConfigError(f"{start}{f', got {got(given[name])}' if has_words else ''}", tree.places[at]))


def _final(tree: Tree, value: Any, hint: Any, path: str) -> Any:
    """A resolved value as the field's type."""
    names_file = Path in kinds(hint) or path.rpartition(".")[2].rpartition("_")[2] in PATH_NAMES
    # a run can be used without the files of its prior, which are looked up when they are needed, and without its mesh, which
    # is a part of its checkpoints
    if path in tree.given and names_file and not re.search(r"prior\.(model$|lora\[)|^geometry\.(mesh|mask)$", path):
        text = str(value) if isinstance(value, str | Path) else ""
        if text.startswith(("/", "./", "../", "~")) and not os.path.exists(os.path.expanduser(text)):
            tree.errors.append(ConfigError(f"{path}: {text} does not exist", tree.places[path]))
    if Schedule in kinds(hint) and path not in tree.missing and value is not None:
        try:
            return Schedule.of(value)
        except ValueError:
            tree.errors.append(ConfigError(f"{path}: expected {expected(Schedule)}, got {got(value)}", tree.places[path]))
    return tuple(value) if isinstance(value, list) and tuple in kinds(hint) else value
