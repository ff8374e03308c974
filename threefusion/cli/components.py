"""The commands `list`, `describe` and `doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError


def list_arguments(parser: Parser) -> None:
    """Arguments of `list`."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help="list only this kind: prompt, camera, geometry, …")
    parser.add_argument("--json", action="store_true", help="print JSON")


def list_command(arguments: argparse.Namespace) -> int:
    """Print every component, and plugins that failed to load."""
    from threefusion.cli.describe import as_table, components, problems

    listed, wrong = components(arguments.kind), problems()
    print(as_json({"components": listed, "problems": wrong}) if arguments.json else as_table(listed))
    for problem in [] if arguments.json else wrong:
        print(problem, file=sys.stderr)
    return 0


def describe_arguments(parser: Parser) -> None:
    """Arguments of `describe`."""
    parser.add_argument("kind", metavar="KIND", help="kind of the component, for example guidance; or a key such as output")
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the component, for example sds")
    parser.add_argument("--json", action="store_true", help="print JSON")


def describe_command(arguments: argparse.Namespace) -> int:
    """Print the fields of a component or of a key of a run, or the components of a kind."""
    from threefusion.cli.describe import KEYS, as_page, describe, describe_key

    if arguments.name is not None and arguments.kind in KEYS:
        raise UserError(f"{arguments.kind!r} is a key of a run without components: describe {arguments.kind}")
    described = describe_key(arguments.kind) if arguments.name is None else describe(arguments.kind, arguments.name)
    print(as_json(described) if arguments.json else as_page(described))
    return 0


def doctor_arguments(parser: Parser) -> None:
    """Arguments of `doctor`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def doctor_command(arguments: argparse.Namespace) -> int:
    """Print what is installed on this machine."""
    from threefusion.cli.doctor import as_page, examine

    report = examine()
    print(as_json(report) if arguments.json else as_page(report))
    return 0


def as_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


LIST = Verb("List components, including plugins.", list_arguments, list_command, ("list", "list loss --json"))


DESCRIBE = Verb(
    "Show the fields, types and defaults of a component or key.",
    describe_arguments,
    describe_command,
    ("describe geometry density-field", "describe output", "describe logger"),
)


DOCTOR = Verb(
    "Show installed packages, devices and models, and how to get missing ones.",
    doctor_arguments,
    doctor_command,
    ("doctor", "doctor --json"),
)
