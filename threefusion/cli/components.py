"""The commands `list`, `describe` and `doctor`: what there is to choose from, and what this machine has."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from threefusion.cli.parser import Parser, Verb


def list_arguments(parser: Parser) -> None:
    """Arguments of `list`."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help="one kind only: prompt, camera, geometry, …")
    parser.add_argument("--json", action="store_true", help="for programs")


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
    parser.add_argument("kind", metavar="KIND", help="for example guidance")
    parser.add_argument("name", metavar="NAME", help="for example sds")
    parser.add_argument("--json", action="store_true", help="for programs")


def describe_command(arguments: argparse.Namespace) -> int:
    """Print the fields of one component."""
    from threefusion.cli.describe import as_page, describe

    described = describe(arguments.kind, arguments.name)
    print(as_json(described) if arguments.json else as_page(described))
    return 0


def doctor_arguments(parser: Parser) -> None:
    """Arguments of `doctor`."""
    parser.add_argument("--json", action="store_true", help="for programs")


def doctor_command(arguments: argparse.Namespace) -> int:
    """Print what is installed on this machine."""
    from threefusion.cli.doctor import as_page, examine

    report = examine()
    print(as_json(report) if arguments.json else as_page(report))
    return 0


def as_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


LIST = Verb("List components, plugins included.", list_arguments, list_command, ("list", "list loss --json"))


DESCRIBE = Verb(
    "Explain a component: fields, types, defaults.",
    describe_arguments,
    describe_command,
    ("describe geometry density-field",),
)


DOCTOR = Verb("Report what this machine has and what is missing.", doctor_arguments, doctor_command, ("doctor", "doctor --json"))
