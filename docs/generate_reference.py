"""Writes docs/reference.md from the code: every kind, component, field, type, default and sentence.

python docs/generate_reference.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from threefusion.cli import describe
from threefusion.config import RunConfig
from threefusion.config.catalogue import BUILT_IN
from threefusion.config.run import NAMED, PARTS, SECTIONS
from threefusion.registry import KINDS

PAGE = Path(__file__).with_name("reference.md")

INTRODUCTION = """# Reference

Every component that comes with threefusion, with every field. `python docs/generate_reference.py` writes this page from the
code, as `python launch.py list` and `python launch.py describe KIND NAME` do. [Each kind's page](index.md) tells what it is for.

A `Schedule` is a number, or `{knots: {0: 10, 5000: 1000}}`: linear between the steps given, constant outside.
A field whose type is a kind holds a component of that kind: its name, or a mapping with `type`.
"""

RUN_KEYS = """## A run

The keys at the top of a config. A component that is not named is the default; a few fields, such as `prompt.text`, must be given.

| key | default | meaning |
|---|---|---|
"""

NESTED = {"encoding": "geometry", "sampler": "renderer", "logger": "logging-and-devices"}
"""Kinds that are told on the page of the kind that holds them."""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, contents(), run_keys()]
    parts += [section(name) for name in SECTIONS]
    parts += [kind_section(kind) for kind in KINDS]
    return "\n".join(parts)


def built_in(kind: str) -> list[dict[str, Any]]:
    """The components of a kind that come with the package, described."""
    found = [component for component in describe.components(kind) if component["origin"] == BUILT_IN]
    return [describe.describe(kind, component["name"]) for component in found]


def contents() -> str:
    """One line per kind."""
    lines = []
    for kind in KINDS:
        links = ", ".join(f"[{component['name']}](#{kind}-{component['name']})" for component in built_in(kind))
        lines.append(f"- [{kind}](#{kind}): {links}")
    return "\n".join(lines) + "\n"


def run_keys() -> str:
    """The keys at the top of a config."""
    component = "One component of this kind."
    rows = [
        ("seed", "`0`", run_sentence("seed")),
        ("name", "the file's name", run_sentence("name")),
        ("extends", "", "A config, or a list of them, that this one is laid over; relative to this file, or shipped."),
        *((f"[{kind}](#{kind})", f"`{name}`", component) for kind, name in PARTS.items()),
        *((f"[{kind}](#{kind})", f"`{name}`", f"{component} Or several by name.") for kind, name in NAMED.items()),
        ("[loss](#loss)", "none", "Terms by name; the name is the component unless the term has a `type`. `null` takes one out."),
        ("[trainer](#trainer)", "", "Arguments of `pytorch_lightning.Trainer`."),
        ("[output](#output)", "", "Pictures, checkpoints and the video of a run."),
        ("[ops](#ops)", "", "What computes the hot operations."),
        ("[facing](#facing)", "", "Whether to look which way the scene faces."),
        ("plugins", "", "Further folders to look for plugins in."),
    ]
    return RUN_KEYS + "".join(f"| {key} | {default} | {escaped(meaning)} |\n" for key, default, meaning in rows)


def run_sentence(name: str) -> str:
    """The sentence under a field of the whole run's config."""
    return describe.field_sources(RunConfig)[name][1]


def section(name: str) -> str:
    """A part of a config that is no component."""
    cls = SECTIONS[name]
    return f"### {name}\n\n{cls.__doc__}\n\n{table(describe.describe_section(name))}"


def kind_section(kind: str) -> str:
    """One kind with all its components."""
    head = f"## {kind}\n\n[What it is and how to write one]({NESTED.get(kind, kind)}.md). Settings: `{KINDS[kind]}`.\n"
    return "\n".join([head, *(component_section(component) for component in built_in(kind))])


def component_section(component: dict[str, Any]) -> str:
    """One component: what it is, then its fields."""
    doc = component["doc"].strip()
    return f"### {component['kind']} {component['name']}\n\n{doc}\n\n{table(component['fields'])}"


def table(fields: list[dict[str, Any]]) -> str:
    """The fields as a table."""
    if not fields:
        return "It has no fields.\n"
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        options = f" One of: {', '.join(field['options'])}." if field["options"] else ""
        options += f" Range: {field['range']}." if field["range"] else ""
        cells = (f"`{field['name']}`", f"`{escaped(field['type'])}`", default(field), escaped(field["sentence"] + options))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def default(field: dict[str, Any]) -> str:
    """A default as it is written in YAML."""
    if field["required"]:
        return "must be given"
    value = field["default"]
    if isinstance(value, dict) and "knots" in value:
        return "`{knots: {" + ", ".join(f"{step}: {number}" for step, number in value["knots"].items()) + "}}`"
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value, ensure_ascii=False)}`"


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|").replace("<", "\\<")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
