"""The command `gallery`. Loads no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError


def gallery_arguments(parser: Parser) -> None:
    """Arguments of `gallery`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder of runs, or a run: then its own page is written")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (DIR/index.html)")
    parser.add_argument(
        "--redo", action="store_true", help="write the pages of all runs again, not only the missing and old ones"
    )


def gallery_command(arguments: argparse.Namespace) -> int:
    """Write the page of all runs in a folder, and the pages of runs that lack theirs; print its path."""
    folder, out = arguments.folder, arguments.out
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    from threefusion.run.gallery import write_gallery
    from threefusion.run.page import PAGE, write_page

    if (folder / "config.yaml").is_file() and (folder / "environment.json").is_file():
        if out is not None:
            raise UserError(f"--out: {folder} is a run, whose page is {folder / PAGE}")
        print(write_page(folder))
        return 0
    page, count = write_gallery(folder, folder / PAGE if out is None else out, arguments.redo)
    print(f"{count} run{'s' * (count != 1)}: {page}")
    return 0


GALLERY = Verb(
    "Write one page of all runs in a folder: sort, filter, compare.",
    gallery_arguments,
    gallery_command,
    ("gallery runs", "gallery runs/quickstart --out quickstart.html", "gallery RUN"),
)
