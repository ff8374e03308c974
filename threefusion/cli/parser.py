"""Parsing of command lines: commands, options, examples, and one-line errors."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import threefusion
from threefusion.errors import UserError, did_you_mean

PROGRAM = "python launch.py"
Action = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Raises a `UserError` of one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UserError(f"{message}. See: {self.prog} --help")


@dataclass(frozen=True)
class Verb:
    """One command: summary, arguments, examples, and the function that runs it."""

    summary: str
    arguments: Callable[[Parser], None]
    action: Action
    examples: tuple[str, ...] = ()


def parse(verbs: Mapping[str, Verb], name: str, arguments: list[str]) -> argparse.Namespace:
    """The arguments of the verb `name` of `verbs`; options and `key=value` may be mixed.

    Raises:
        UserError: an unknown option, with the nearest one.
    """
    verb = verbs[name]
    examples = "\n".join(f"  {PROGRAM} {example}" for example in verb.examples)
    parser = Parser(
        prog=f"{PROGRAM} {name}",
        description=verb.summary,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        option = unknown[0].partition("=")[0]
        options = [text for action in parser._actions for text in action.option_strings]
        near = did_you_mean(option, options) or "."
        what = "option" if option.startswith("-") else "argument"
        raise UserError(f"{name} takes no {what} {option!r}{near} See: {parser.prog} --help")
    return parsed


def overview(verbs: Mapping[str, Verb]) -> str:
    """`--help`."""
    lines = "\n".join(f"  {name:<9} {verb.summary}" for name, verb in verbs.items())
    return f"""threefusion {threefusion.__version__}: text-to-3D by score distillation.

usage: {PROGRAM} COMMAND …      (or: threefusion COMMAND …)

{lines}

Try:
  {PROGRAM} train --config configs/quickstart.yaml --prompt "a red car"
  {PROGRAM} list guidance
  {PROGRAM} describe guidance sds

{PROGRAM} COMMAND --help explains a command."""
