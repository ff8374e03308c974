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
from threefusion.bench.folder import CellFolder, cell_folder, changed_setting, open_folder
from threefusion.bench.html import as_html
from threefusion.bench.markdown import as_markdown
from threefusion.bench.plan import Cell, Plan
from threefusion.bench.report import Report, make_report
from threefusion.bench.table import as_csv
from threefusion.bench.tracking import track
from threefusion.errors import UserError
from threefusion.machine.files import locked, write_atomically
from threefusion.messages import Noted, send

CELL_COMMAND = (sys.executable, "-m", "threefusion.bench.cell")


def run_benchmark(
    plan: Plan, folder: Path, executor: Executor, redo: bool = False, command: Sequence[str] = CELL_COMMAND
) -> Report:
    """Run the missing cells and keep table.csv, table.md and index.html up to date. Returns the last report.

    `command` runs a cell; it gets the cell's folder and the options of `eval` as arguments.

    Raises:
        UserError: another benchmark is running in the folder, or, unless `redo`, cells were run with other settings.
    """
    folder = folder.absolute()
    open_folder(folder, plan.name)
    with locked(folder / "lock", f"--out {folder}: another benchmark is running there"):
        cells = _unfinished(plan, folder, redo)
        done = len(plan.cells) - len(cells)
        report = write(plan, folder)
        with closing(executor.submit([_job(plan, folder, cell, command) for cell in cells.values()])) as ending:
            for ended in ending:
                done += 1
                target = cell_folder(folder, cells[ended.job.name])
                _mark_if_died(target, ended)
                report = write(plan, folder)
                send(Noted(f"[{done}/{len(plan.cells)}] {ended.job.name}: {_outcome(target)}"))
        track(report, plan.logger, folder)
    return report


def write(plan: Plan, folder: Path) -> Report:
    """Write the tables of all cells so far."""
    report = make_report(plan, folder)
    write_atomically(folder / "table.csv", as_csv(report.table))
    write_atomically(folder / "table.md", as_markdown(report))
    write_atomically(folder / "index.html", as_html(report, folder))
    return report


def _unfinished(plan: Plan, folder: Path, redo: bool) -> dict[str, Cell]:
    """The unfinished cells by name, ready to be started."""
    cells = {str(cell): cell for cell in plan.in_running_order()}
    targets = {name: cell_folder(folder, cell) for name, cell in cells.items()}
    changed = {name: text for name, cell in cells.items() if (text := changed_setting(targets[name], cell))}
    if changed and not redo:
        name, text = next(iter(changed.items()))
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"{folder}: {name}{others}: run with other settings ({text}). Use another --out, or --redo to run such cells again"
        )
    for name in changed:
        targets[name].clear()
    unfinished = {name: cell for name, cell in cells.items() if not targets[name].is_finished(plan.evaluation.words())}
    for name, cell in unfinished.items():
        targets[name].prepare(cell)
        record = targets[name].record()
        if record.state == "finished":
            # until it is evaluated again its numbers do not belong in the table
            targets[name].write_record(replace(record, state="waiting"))
    return unfinished


def _job(plan: Plan, folder: Path, cell: Cell, command: Sequence[str]) -> Job:
    target = cell_folder(folder, cell)
    # Wherever the current directory is, the child must find the package that this process runs.
    roots = [str(Path(threefusion.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(roots)}
    own = (str(target.path), *plan.evaluation.words())
    return Job(str(cell), (*command, *own), target.output, Path.cwd(), environment, len(own))


def _mark_if_died(target: CellFolder, ended: Ended) -> None:
    """Mark the cell failed if its process died without updating its record."""
    record = target.record()
    if ended.code and record.state != "failed":
        reason = ended.problem or f"the cell's process ended with exit code {ended.code}; see {target.output}"
        target.write_record(replace(record, state="failed", reason=reason))


def _outcome(target: CellFolder) -> str:
    record = target.record()
    return f"{record.state}{f': {record.trouble}' if record.trouble else ''}"
