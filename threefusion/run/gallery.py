"""The page of all runs below a folder. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from threefusion.errors import UserError, first_line
from threefusion.messages import Noted, send
from threefusion.page.gallery import as_html
from threefusion.run.facts import read_facts
from threefusion.run.page import PAGE, is_page, put, refresh_page

RESULTS = ("config.yaml", "metrics.csv", "report.json", "evaluation.json")
"""Files whose change makes the page of a run old."""


def write_gallery(folder: Path, out: Path, redo: bool = False) -> tuple[Path, int]:
    """Write the page of all runs below `folder`, and those pages of runs that are missing or old; with `redo` all.

    Returns the page and the number of runs. What cannot be read is named and left out.

    Raises:
        UserError: no run is there, or `out` is a page of another kind or cannot be written.
    """
    if out.exists() and not is_page(out, "gallery"):
        raise UserError(f"{out}: is no gallery, and would be replaced. Name another file with --out")
    runs = []
    for run in find_runs(folder):
        try:
            facts = read_facts(run)
        except (UserError, OSError) as error:
            send(Noted(f"{run}: left out: {first_line(error)}"))
            continue
        runs.append(facts)
        if facts.state != "running" and (redo or is_old(run)):
            refresh_page(run)
    if not runs:
        raise UserError(f"{folder}: no run folder in it or below it")
    put(out, "gallery", as_html(runs, out))
    return out, len(runs)


def find_runs(folder: Path) -> Iterator[Path]:
    """The run folders below a folder, by name; a run folder is not searched."""
    for path, folders, files in os.walk(folder):
        if "config.yaml" in files and "environment.json" in files:
            folders.clear()
            yield Path(path)
        folders.sort()


def is_old(run: Path) -> bool:
    """Whether a run has no page of its own, or one that is older than its results."""
    page = run / PAGE
    if not is_page(page, "run"):
        return True
    written = [path.stat().st_mtime for name in RESULTS if (path := run / name).is_file()]
    return page.stat().st_mtime < max(written, default=0)
