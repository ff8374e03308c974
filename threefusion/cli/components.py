"""The commands `list`, `describe` and `doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from threefusion.cli.parser import Parser, Verb


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
    parser.add_argument("kind", metavar="KIND", help="kind of the component, for example guidance")
    parser.add_argument("name", metavar="NAME", help="name of the component, for example sds")
    parser.add_argument("--json", action="store_true", help="print JSON")


def describe_command(arguments: argparse.Namespace) -> int:
    """Print the fields of one component."""
    from threefusion.cli.describe import as_page, describe

    described = describe(arguments.kind, arguments.name)
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
    "Show the fields, types and defaults of a component.",
    describe_arguments,
    describe_command,
    ("describe geometry density-field",),
)


DOCTOR = Verb(
    "Show installed packages, devices and models, and how to get missing ones.",
    doctor_arguments,
    doctor_command,
    ("doctor", "doctor --json"),
)
