"""Trains and evaluates one cell: `python -m threefusion.bench.cell FOLDER`. Loads no torch.

It can be started any number of times: finished work is kept, an interrupted run is resumed from its newest checkpoint.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from threefusion.bench.folder import CellFolder, Record, evaluated_with
from threefusion.machine.files import locked
from threefusion.run.folder import RUN_VARIABLE, latest_checkpoint

PROGRAM = (sys.executable, "-m", "threefusion")
INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a run that was interrupted, not of a failure."""
EMPTY_SCENE = 2
"""Exit code of a training that finished with nothing to export; it wrote its report."""


@dataclass(frozen=True)
class CellOptions:
    """How a cell is run."""

    program: tuple[str, ...] = PROGRAM
    train: tuple[str, ...] = ()
    """Further arguments of `train`."""
    evaluate: tuple[str, ...] = ()
    """Further arguments of `eval`."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set by a signal to stop."""


def main() -> None:
    """Run the cell in the given folder; further arguments are passed to `eval`."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--anyway", action="store_true", help="train although the prior does not know the prompt's words")
    arguments, evaluate = parser.parse_known_args()
    options = CellOptions(train=("--anyway",) if arguments.anyway else (), evaluate=tuple(evaluate))
    exit_with_parent()
    # Handlers, unlike ignored signals, are not inherited: the run receives SIGTERM itself, saves and exits.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: options.stopped.set())
    sys.exit(run_cell(CellFolder(arguments.folder), options))


def exit_with_parent() -> None:
    """Kill this process and its run when the parent exits, which closes the other end of stdin."""
    leads_group = os.getpid() == os.getpgrp()
    if leads_group and stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def run_cell(folder: CellFolder, options: CellOptions) -> int:
    """Train and evaluate what is missing, and record it in cell.json. Returns 0, 1 for a failure, 130 when interrupted."""
    with locked(folder.path / "lock", f"{folder.path}: another process is working on this cell", seconds=60.0):
        if folder.is_finished(options.evaluate):
            return 0
        record = folder.record()
        record = replace(record, state="running", reason=None, attempts=record.attempts + 1)
        folder.write_record(record)
        if not record.trained:
            code, record = _train(folder, record, options)
            if code:
                return code
        return 130 if options.stopped.is_set() else _evaluate(folder, record, options)


def _train(folder: CellFolder, record: Record, options: CellOptions) -> tuple[int, Record]:
    if latest_checkpoint(folder.run) is not None:
        words = ["--resume", str(folder.run)]
    else:
        shutil.rmtree(folder.run, ignore_errors=True)
        words = ["--config", str(folder.settings), "--out", str(folder.run)]
    # the report of an attempt that was interrupted during export says that there is no mesh
    (folder.run / "report.json").unlink(missing_ok=True)
    code, last_line = _call(folder, [*options.program, "train", *words, *options.train])
    completed = code == 0 or (code == EMPTY_SCENE and (folder.run / "report.json").is_file())
    if not completed:
        return _failed(folder, record, code, last_line), record
    record = replace(record, trained=True, remark=last_line if code else None)
    folder.write_record(record)
    return 0, record


def _evaluate(folder: CellFolder, record: Record, options: CellOptions) -> int:
    code, last_line = _call(folder, [*options.program, "eval", str(folder.run), "--json", *options.evaluate])
    if code:
        return _failed(folder, record, code, last_line)
    if folder.evaluation() is None:
        return _failed(folder, record, 1, "the evaluation wrote no evaluation.json")
    folder.write_record(replace(record, state="finished", evaluation=evaluated_with(options.evaluate)))
    return 0


def _failed(folder: CellFolder, record: Record, code: int, last_line: str) -> int:
    """Record a failure; an interruption is none."""
    if code in INTERRUPTED:
        return 130
    if code < 0:
        killed = f"killed by {signal.Signals(-code).name}"
        last_line = f"{killed} (out of memory?)" if -code == signal.SIGKILL else killed
    folder.write_record(replace(record, state="failed", reason=last_line or f"exit code {code} and no message"))
    return 1


def _call(folder: CellFolder, command: list[str]) -> tuple[int, str]:
    """The exit code of a command and its last line on stderr."""
    environment = {name: value for name, value in os.environ.items() if name != RUN_VARIABLE}
    with folder.output.open("ab") as output, folder.errors.open("a+b") as errors:
        begin = errors.seek(0, os.SEEK_END)
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment)
        errors.seek(begin)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return code, lines[-1].strip() if lines else ""


if __name__ == "__main__":
    main()
