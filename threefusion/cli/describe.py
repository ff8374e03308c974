"""What there is and what it can be set to, for `list`, `describe` and the generated reference. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from threefusion import config, registry, source
from threefusion.config import LOGGERS, Choice, FacingConfig, OpsConfig, OutputConfig
from threefusion.declarations import Declaration, config_source, shown
from threefusion.discovery import BUILT_IN, catalogue, find_declaration
from threefusion.dump import plain
from threefusion.errors import UserError
from threefusion.suggest import nearest

SECTIONS: dict[str, type] = {
    "output": OutputConfig,
    "ops": OpsConfig,
    "facing": FacingConfig,
    **{f"logger.{name}": cls for name, cls in LOGGERS.items()},
}
"""Parts of a config that are no components but are described like them."""


def check_kind(kind: str) -> None:
    """Refuse a kind that does not exist.

    Raises:
        UserError: with the nearest kind.
    """
    if kind not in registry.KINDS:
        raise UserError(f"no kind of component is called {kind!r}{nearest(kind, registry.KINDS)}")


def components(kind: str | None = None) -> list[dict[str, Any]]:
    """Every component (of one kind), in the order the data travels, with its one-line summary and where it comes from."""
    if kind is not None:
        check_kind(kind)
    order = {name: place for place, name in enumerate(registry.KINDS)}
    found = [d for d in catalogue().declarations.values() if kind in (None, d.kind)]
    return [_summary(d) for d in sorted(found, key=lambda d: (order[d.kind], d.name))]


def problems() -> list[str]:
    """Plugins that cannot be used and names that are taken twice."""
    known = catalogue()
    return [*map(str, known.failures), *known.clashes.values()]


def _summary(declaration: Declaration) -> dict[str, Any]:
    module = declaration.source.module
    return {
        "kind": declaration.kind,
        "name": declaration.name,
        "summary": declaration.source.doc.partition("\n\n")[0].replace("\n", " "),
        "origin": declaration.origin,
        "file": str(shown(module.path)),
        "line": declaration.source.node.lineno,
    }


def describe(kind: str, name: str) -> dict[str, Any]:
    """One component: its docstring and its fields with types, defaults and the sentence under each.

    Raises:
        UserError: no such kind or component.
    """
    check_kind(kind)
    declaration = find_declaration(kind, name)
    written = config_source(declaration.source)
    return {
        **_summary(declaration),
        "doc": declaration.source.doc,
        "fields": describe_fields(registry.config_type(kind, name), source.fields(written)),
    }


def describe_section(name: str) -> list[dict[str, Any]]:
    """The fields of one of `SECTIONS`."""
    cls = SECTIONS[name]
    module = source.read("threefusion.config", Path(config.__file__))
    return describe_fields(cls, source.fields(source.find(module, cls.__name__)))


def describe_fields(config_type: type, written: dict[str, source.FieldSource]) -> list[dict[str, Any]]:
    """Name, type, default, whether it must be given, and sentence of every field of a config dataclass."""
    described = []
    for field in dataclasses.fields(config_type):
        default, required = _default(field)
        kind = field.metadata.get("kind")
        described.append(
            {
                "name": field.name,
                "type": written[field.name].annotation.replace("Choice", kind or "Choice"),
                "options": registry.names(kind) if kind else None,
                "default": default,
                "required": required,
                "sentence": written[field.name].sentence,
            }
        )
    return described


def _default(field: dataclasses.Field) -> tuple[Any, bool]:
    if field.default is not dataclasses.MISSING:
        return field.default.name if isinstance(field.default, Choice) else plain(field.default), False
    if field.default_factory is not dataclasses.MISSING:
        return plain(field.default_factory()), False
    return None, True


def as_table(found: list[dict[str, Any]]) -> str:
    """`list` for people."""
    width = max((len(c["name"]) for c in found), default=0)
    blocks = []
    for kind, members in groupby(found, key=lambda component: component["kind"]):
        lines = [kind]
        for component in members:
            plugin = "" if component["origin"] == BUILT_IN else f"  [{component['origin']}]"
            lines.append(f"  {component['name']:<{width}}  {component['summary']}{plugin}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_page(described: dict[str, Any]) -> str:
    """`describe` for people."""
    lines = [f"{described['kind']} {described['name']}  ({described['file']}:{described['line']})", "", described["doc"], ""]
    for field in described["fields"]:
        default = "required" if field["required"] else f"= {as_text(field['default'])}"
        options = f"  one of: {', '.join(field['options'])}" if field["options"] else ""
        lines += [f"  {field['name']}: {field['type']} {default}{options}", f"      {field['sentence']}"]
    return "\n".join(lines)


def as_text(value: Any) -> str:
    """A default the way it is written in YAML."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
