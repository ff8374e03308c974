"""Sections that hold components by name: losses, and guidance and exporters, which have a short form for one. Loads no torch."""

from __future__ import annotations

import re

from threefusion.config.catalogue import Catalogue
from threefusion.config.document import Layers, Node, mappings
from threefusion.config.sections import RESERVED
from threefusion.errors import ConfigError


def entries_by_name(
    catalogue: Catalogue, layers: Layers, key: str, default: str | None
) -> dict[str, tuple[str, Layers, str | None]]:
    """name -> (path, layers, default type) of a section that holds entries by name, or one component in the short form.

    An entry differs from a field of the short form by its key, which is no field, and its value, which names a component.
    """
    found: dict[str, Layers] = {} if layers or default is None else {key: []}
    by_name, chosen = default is None, ""
    for node in layers:
        if node.value is None:
            found = {}
            continue
        names = _entry_names(catalogue, node, key, default, found, chosen)
        if default is not None and not names:
            if found and key not in found:
                example = f"{key}.{next(iter(found))}"
                raise ConfigError(f"{key}: this run names several: {', '.join(found)}. Write {example}", node.place)
            found.setdefault(key, []).append(node)
            chosen = node.value["type"].text if isinstance(node.value, dict) and "type" in node.value else node.text or chosen
            continue
        by_name = True
        for entries in mappings([node], key):
            for name, entry in entries.items():
                if name not in names:
                    raise ConfigError(f"{key}.{name}: a field of one {key} beside entries by name", entry.place)
                found.setdefault(name, []).append(entry)
    return {name: (f"{key}.{name}" if by_name else key, below, default if name == key else name) for name, below in found.items()}


def _entry_names(
    catalogue: Catalogue, node: Node, key: str, default: str | None, before: dict[str, Layers], chosen: str
) -> set[str]:
    """The keys of a mapping that name entries; `chosen` is the component that an earlier layer names in the short form.

    Raises:
        ConfigError: a name that cannot be used.
    """
    if not isinstance(node.value, dict) or (default is not None and "type" in node.value):
        return set()
    fields = catalogue.fields(key, chosen) if default is not None else set()
    names = set()
    for name, value in node.value.items():
        declares = isinstance(value.value, dict) and "type" in value.value
        if default is None or (name not in fields and (declares or name in before or catalogue.has(key, name))):
            if not re.fullmatch(r"[A-Za-z][\w-]{0,99}", name) or (name in RESERVED and name != key):
                problem = "is taken" if name in RESERVED else "expected letters, digits, - and _"
                raise ConfigError(f"{key}.{name}: a name for one {key}: {problem}", value.place)
            names.add(name)
    return names
