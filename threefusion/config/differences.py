"""Every setting of a config as text by its dotted path, and which of them differ from the defaults. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from threefusion.config.document import plain_node, read_file
from threefusion.config.dump import as_tree
from threefusion.config.fields import Settings
from threefusion.config.run import RunConfig
from threefusion.config.values import unescaped


def settings_of(config: RunConfig) -> dict[str, str]:
    """The settings of a config."""
    return dict(_leaves(as_tree(config), ""))


def saved_settings(path: Path) -> dict[str, str]:
    """The settings in a config.yaml, read without its plugins.

    Raises:
        ConfigError: no such file, or no YAML.
    """
    return dict(_leaves(unescaped(plain_node(read_file(path))), ""))


def changed_settings(config: RunConfig) -> frozenset[str]:
    """The types of the components in use, and the settings that differ from their defaults; of stages all."""
    before, now = settings_of(with_defaults(replace(config, stages=()))), settings_of(config)
    return frozenset(path for path, value in now.items() if path.endswith(".type") or before.get(path) != value)


def with_defaults(settings: Settings) -> Any:
    """The settings with the same components, and their defaults where these go together."""
    values = {field.name: _default(field, getattr(settings, field.name)) for field in fields(settings)}
    try:
        return replace(settings, **values)
    except ValueError:
        return settings


def _default(field: Any, value: Any) -> Any:
    """A component stays what it is, with its own fields at their defaults."""
    if isinstance(value, Settings):
        return with_defaults(value)
    if isinstance(value, dict) and any(isinstance(inner, Settings) for inner in value.values()):
        return {key: with_defaults(inner) for key, inner in value.items()}
    if field.default_factory is not MISSING:
        return field.default_factory()
    return value if field.default is MISSING else field.default


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    """Values with their paths; a schedule is one value, the entries of stages are known by name."""
    if isinstance(tree, dict) and tree.keys() != {"knots"}:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list) and tree and all(isinstance(item, dict) and "name" in item for item in tree):
        for item in tree:
            yield from _leaves({key: value for key, value in item.items() if key != "name"}, f"{path}.{item['name']}")
    else:
        yield path, _text(tree)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{step}: {_text(number)}" for step, number in value["knots"].items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
