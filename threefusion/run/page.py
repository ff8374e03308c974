"""index.html of a run. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path

from threefusion.config import RunConfig
from threefusion.errors import UserError, first_line
from threefusion.machine.files import set_aside, write_atomically
from threefusion.messages import Noted, send
from threefusion.page.markup import generator
from threefusion.page.run import as_html
from threefusion.run.facts import read_details
from threefusion.run.folder import RUN_VARIABLE, open_run, writing, written_by_training

PAGE = "index.html"


def write_page(run: Path, config: RunConfig | None = None) -> Path:
    """Write the page of a run, from its folder alone.

    Raises:
        UserError: its config cannot be read, or the folder cannot be written.
    """
    if config is None:
        try:
            config = open_run(run)
        except UserError as error:  # as with a plugin that is missing here
            send(Noted(f"{run / PAGE}: shows no defaults: {first_line(error)}"))
    page = as_html(read_details(run, config))
    with writing(run):
        put(run / PAGE, "run", page)
    return run / PAGE


def add_page(run: Path, config: RunConfig) -> bool:
    """Write the page of a run that ends, whatever its end; on the first process alone, and only if there is something to see.

    Returns whether it was written.
    """
    return RUN_VARIABLE not in os.environ and any(written_by_training(run)) and refresh_page(run, config)


def refresh_page(run: Path, config: RunConfig | None = None) -> bool:
    """Write the page of a run if it can be written; else say why in one line."""
    try:
        write_page(run, config)
    except Exception as error:
        send(Noted(f"{run / PAGE}: not written: {first_line(error)}"))
        return False
    return True


def put(path: Path, kind: str, page: str) -> None:
    """Write a page; a file there that is no page of this kind gets another name.

    Raises:
        UserError: the folder cannot be written.
    """
    if os.path.lexists(path) and not is_page(path, kind):
        send(Noted(f"{path}: not a page of a {kind}; kept as {set_aside(path).name}"))
    write_atomically(path, page)


def is_page(path: Path, kind: str) -> bool:
    """Whether a file is a page of this kind."""
    try:
        with path.open(encoding="utf-8") as file:
            return generator(kind) in file.read(2000)
    except (OSError, UnicodeDecodeError):
        return False
