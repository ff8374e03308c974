"""The command `init`. Loads no torch."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from threefusion.cli.parser import PROGRAM, Parser, Verb
from threefusion.errors import UserError, nearest


def init_arguments(parser: Parser) -> None:
    """Arguments of `init`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the config goes; made if it does not exist")
    parser.add_argument("--config", default="quickstart", metavar="NAME", help="which shipped config to copy; default quickstart")


def init_command(arguments: argparse.Namespace) -> int:
    """Copy a shipped config, with its comments, to a folder of the user's."""
    from threefusion.config.document import SHIPPED

    name = arguments.config.removesuffix(".yaml")
    shipped = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    if name not in shipped:
        raise UserError(f"no shipped config {name!r}{nearest(name, shipped)}")
    file = arguments.folder / shipped[name].name
    if file.exists():
        raise UserError(f"{file} exists already: choose another folder, or edit it")
    text = shipped[name].read_text(encoding="utf-8").replace(f"configs/{name}.yaml", quoted := shlex.quote(str(file)))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(f"{file}\nEdit it, then: {PROGRAM} train --config {quoted}")
    return 0


INIT = Verb(
    "Copy a shipped config to start from.",
    init_arguments,
    init_command,
    ("init experiments", "init experiments --config dreamfusion-sd"),
)
