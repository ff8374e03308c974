"""A benchmark from its plan to its table. Loads no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import threefusion
from threefusion.bench.executor import Ended, Executor, Job
from threefusion.bench.folder import CellFolder, cell_folder, change, locked, open_folder
from threefusion.bench.html import as_html
from threefusion.bench.markdown import as_markdown
from threefusion.bench.plan import Cell, Plan
from threefusion.bench.report import Report, make_report
from threefusion.bench.table import as_csv
from threefusion.bench.tracking import track
from threefusion.errors import UserError
from threefusion.run.folder import write_atomically

CELL_COMMAND = (sys.executable, "-m", "threefusion.bench.cell")


def run_benchmark(
    plan: Plan, folder: Path, executor: Executor, redo: bool = False, command: Sequence[str] = CELL_COMMAND
) -> Report:
    """Make the cells that are missing and keep table.csv, table.md and index.html up to date. Returns the last report.

    `command` makes a cell: it is given the cell's folder and the options of `eval`.

    Raises:
        UserError: another benchmark is at work in the folder, or, unless `redo`, cells were made with other settings.
    """
    folder = folder.absolute()
    open_folder(folder, plan.name)
    with locked(folder / "lock", 0.0, f"--out {folder}: another benchmark is at work there"):
        cells = _left(plan, folder, redo)
        done = len(plan.cells) - len(cells)
        report = write(plan, folder)
        with closing(executor.submit([_job(plan, folder, cell, command) for cell in cells.values()])) as ending:
            for ended in ending:
                done += 1
                place = cell_folder(folder, cells[ended.job.name])
                _settle(place, ended)
                report = write(plan, folder)
                print(f"[{done}/{len(plan.cells)}] {ended.job.name}: {_outcome(place)}", file=sys.stderr, flush=True)
        track(report, plan.logger, folder)
    return report


def write(plan: Plan, folder: Path) -> Report:
    """Write the tables as far as the cells have come."""
    report = make_report(plan, folder)
    write_atomically(folder / "table.csv", as_csv(report.table))
    write_atomically(folder / "table.md", as_markdown(report))
    write_atomically(folder / "index.html", as_html(report))
    return report


def _left(plan: Plan, folder: Path, redo: bool) -> dict[str, Cell]:
    """The cells that are not finished, by name, ready to be started."""
    cells = {str(cell): cell for cell in plan.in_running_order()}
    places = {name: cell_folder(folder, cell) for name, cell in cells.items()}
    changed = {name: text for name, cell in cells.items() if (text := change(places[name], cell))}
    if changed and not redo:
        name, text = next(iter(changed.items()))
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"{folder}: {name}{others}: made with other settings ({text}). Give another --out, or --redo to make such cells anew"
        )
    for name in changed:
        places[name].clear()
    left = {name: cell for name, cell in cells.items() if not places[name].is_finished(plan.evaluation.words())}
    for name, cell in left.items():
        places[name].prepare(cell)
        record = places[name].record()
        if record.state == "finished":
            # until it is evaluated again its numbers are no part of the table
            places[name].write_record(replace(record, state="waiting"))
    return left


def _job(plan: Plan, folder: Path, cell: Cell, command: Sequence[str]) -> Job:
    place = cell_folder(folder, cell)
    # Wherever the current directory is, the child must find the package that this process runs.
    roots = [str(Path(threefusion.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(roots)}
    return Job(str(cell), (*command, str(place.path), *plan.evaluation.words()), place.output, Path.cwd(), environment)


def _settle(place: CellFolder, ended: Ended) -> None:
    """Note that a cell's process is gone if it could not note that itself."""
    record = place.record()
    if ended.code and record.state != "failed":
        reason = ended.problem or f"the cell's process ended with exit code {ended.code}; see {place.output}"
        place.write_record(replace(record, state="failed", reason=reason))


def _outcome(place: CellFolder) -> str:
    record = place.record()
    return f"{record.state}{f': {record.trouble}' if record.trouble else ''}"
