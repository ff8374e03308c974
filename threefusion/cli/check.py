"""The command `check`. Loads no torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from threefusion.cli.parser import PROGRAM, Parser, Verb
from threefusion.errors import ConfigError, UserError


def check_arguments(parser: Parser) -> None:
    """Arguments of `check`."""
    parser.add_argument("--anyway", action="store_true", help="accept prompts that the bundled prior does not know")
    parser.add_argument("words", nargs="+", metavar="CONFIG|key=value", help="config files, and overrides of them")


def is_override(word: str) -> bool:
    """Whether a word of a command line is `key=value`, `+key=value` or `~key`, and no file."""
    return "=" in word or (word.startswith("~") and "/" not in word)


def check_file(path: Path, overrides: list[str], anyway: bool = False) -> list[str]:
    """Check a run config or a benchmark, whichever `path` is; warnings about its prompts.

    Raises:
        ConfigError: the first error, which holds all others.
        ModelError: the vocabulary of the prior's model cannot be read.
    """
    from threefusion.config import load_config
    from threefusion.config.document import find_config, read_file

    path = find_config(path)
    if path.is_file() and b"variants" in path.read_bytes() and "variants" in read_file(path).value:
        from threefusion.bench.plan import load_plan

        return list(load_plan(path, overrides, anyway).warnings)
    config = load_config(path, overrides)
    from threefusion.guidance.prior.vocabulary import VocabularyError, prompt_warnings

    try:
        return prompt_warnings(config, anyway)
    except VocabularyError as error:
        raise ConfigError(f"prompt.text: {error}", path) from error


def check_command(arguments: argparse.Namespace) -> int:
    """Check configs without building anything."""
    overrides = [word for word in arguments.words if is_override(word)]
    files = [word for word in arguments.words if not is_override(word)]
    if not files:
        raise UserError(f"check needs at least one config file. See: {PROGRAM} check --help")
    wrong = 0
    for file in files:
        try:
            for warning in check_file(Path(file), overrides, arguments.anyway):
                print(f"warning: {file}: {warning}", file=sys.stderr)
            print(f"{file}: ok")
        except UserError as error:
            print(*getattr(error, "all", [error]), sep="\n", file=sys.stderr)
            wrong += 1
    return 2 if wrong else 0


CHECK = Verb(
    "Check configs without running them.",
    check_arguments,
    check_command,
    ("check configs/*.yaml", "check quickstart guidance.prior.type=latent"),
)
