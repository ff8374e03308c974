"""Every component and its fields, for `list`, `describe` and the generated reference. Loads no torch."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import json
import sys
import textwrap
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from threefusion.config.catalogue import BUILT_IN, Catalogue, plugin_folders, shown
from threefusion.config.run import SECTIONS
from threefusion.config.stages import StageConfig
from threefusion.config.values import plain
from threefusion.errors import UserError, nearest
from threefusion.registry import ENTRIES, KINDS, Entry

KEYS: dict[str, type] = {**SECTIONS, "stages": StageConfig}
"""Keys of a run that hold fields and no component."""


def check_kind(kind: str) -> None:
    """Refuse a kind that does not exist.

    Raises:
        UserError: with the nearest kind.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of component {kind!r}{nearest(kind, KINDS)}")


def components(kind: str | None = None) -> list[dict[str, Any]]:
    """Every component (of one kind), in the order the data travels, with its one-line summary and where it comes from."""
    if kind is not None:
        check_kind(kind)
    known = catalogue()
    return [_summary(entry, known) for entry in known.entries() if kind in (None, entry.kind)]


def catalogue() -> Catalogue:
    """What a config in the current directory can name."""
    return Catalogue(plugin_folders())


def problems() -> list[str]:
    """Plugins that cannot be used and names that are taken twice."""
    return catalogue().problems()


def _summary(entry: Entry, known: Catalogue) -> dict[str, Any]:
    file, node = component_source(entry.target)
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": _doc(entry).partition("\n\n")[0].replace("\n", " "),
        "origin": known.origin(entry),
        "file": str(shown(file)),
        "line": node.lineno,
        **{name: list(value) for name, value in (("gives", entry.gives), ("needs", entry.needs)) if value},
    }


def _doc(entry: Entry) -> str:
    """The docstring of a component; of one that shares its class with others, which differ in their settings, that of these."""
    if sum(other.target == entry.target for other in ENTRIES.values()) > 1:
        return inspect.getdoc(entry.settings) or ""
    return ast.get_docstring(component_source(entry.target)[1]) or ""


def component_source(target: str) -> tuple[Path, ast.ClassDef | ast.FunctionDef]:
    """The file and the syntax tree of a component, which is not imported."""
    module, _, name = target.partition(":")
    file = Path(importlib.util.find_spec(module).origin)
    defined = {node.name: node for node in _parsed(file).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return file, defined[name]


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def describe(kind: str, name: str) -> dict[str, Any]:
    """One component: its docstring and its fields with types, ranges, defaults and the sentence under each.

    Raises:
        UserError: no such kind or component.
    """
    check_kind(kind)
    known = catalogue()
    entry = known.find(kind, name)
    return {**_summary(entry, known), "doc": _doc(entry), "fields": describe_fields(entry.settings, known)}


def describe_key(key: str) -> dict[str, Any]:
    """A key of a run that is no component, with its fields; or a kind with its components.

    Raises:
        UserError: there is no such key or kind.
    """
    if key in KINDS:
        return {"kind": key, "components": components(key)}
    if key not in KEYS:
        raise UserError(f"unknown key or kind {key!r}{nearest(key, [*KEYS, *KINDS])}")
    return {"key": key, "doc": inspect.cleandoc(KEYS[key].__doc__), "fields": describe_section(key)}


def describe_section(name: str) -> list[dict[str, Any]]:
    """The fields of one of `KEYS`."""
    return describe_fields(KEYS[name], catalogue())


def describe_fields(settings: type, known: Catalogue) -> list[dict[str, Any]]:
    """Name, type, range, default, whether it must be given, and sentence of every field of a settings class; dots in the names
    of those in a section of it."""
    described, sources = [], field_sources(settings)
    for field in dataclasses.fields(settings):
        if dataclasses.is_dataclass(field.default_factory):
            inner = describe_fields(field.default_factory, known)
            described += [{**below, "name": f"{field.name}.{below['name']}"} for below in inner]
            continue
        default, required = _default(field)
        kind = field.metadata.get("kind")
        annotation, sentence = sources[field.name]
        described.append(
            {
                "name": field.name,
                "type": annotation.replace("Settings", kind or "Settings"),
                "range": str(field.metadata["range"]) if "range" in field.metadata else None,
                "options": known.names(kind) if kind else None,
                "default": default,
                "required": required,
                "sentence": sentence,
            }
        )
    return described


def field_sources(settings: type) -> dict[str, tuple[str, str]]:
    """Annotation and sentence of every field, from the source of a settings class and its bases."""
    found: dict[str, tuple[str, str]] = {}
    for cls in reversed([cls for cls in settings.__mro__ if dataclasses.is_dataclass(cls)]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                name, (_, inherited) = statement.target.id, found.get(statement.target.id, ("", ""))
                sentence = inspect.cleandoc(after.value.value).replace("\n", " ") if is_text else inherited
                found[name] = _annotation(cls, statement.annotation), sentence
    return found


def _annotation(cls: type, node: ast.expr) -> str:
    """The text of an annotation, with the values of a `Literal` that has a name."""
    text = ast.unparse(node)
    named = vars(sys.modules[cls.__module__]).get(text)
    return f"Literal[{', '.join(map(repr, get_args(named)))}]" if get_origin(named) is Literal else text


def _default(field: dataclasses.Field) -> tuple[Any, bool]:
    if "kind" in field.metadata:
        return field.metadata["default"], False
    if field.default is not dataclasses.MISSING:
        return plain(field.default), False
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
    if "components" in described:
        return f"{as_table(described['components'])}\n\ndescribe {described['kind']} NAME shows the fields of one."
    where = described.get("key") or f"{described['kind']} {described['name']}  ({described['file']}:{described['line']})"
    lines = [where, "", described["doc"], ""]
    lines += [f"{word}: {', '.join(described[word])}\n" for word in ("gives", "needs") if word in described]
    for field in described["fields"]:
        default = "required" if field["required"] else f"= {as_text(field['default'])}"
        options = f"  one of: {', '.join(field['options'])}" if field["options"] else f"  {field['range'] or ''}".rstrip()
        lines += [f"  {field['name']}: {field['type']} {default}{options}", f"      {field['sentence']}"]
    return "\n".join(lines)


def as_text(value: Any) -> str:
    """A default the way it is written in YAML."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
