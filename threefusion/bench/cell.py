"""Trains and evaluates cells: `python -m threefusion.bench.cell FOLDER` one, without a folder those of requests. Loads no torch.

It can be started any number of times: finished work is kept, an interrupted run is resumed from its newest checkpoint.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from threefusion.bench.call import Call, WarmProgram
from threefusion.bench.folder import CellFolder, Record, evaluated_with
from threefusion.bench.requests import Client
from threefusion.machine.files import locked
from threefusion.run.folder import latest_checkpoint

INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a run that was interrupted, not of a failure."""
EMPTY_SCENE = 2
"""Exit code of a training that finished with nothing to export; it wrote its report."""


@dataclass(frozen=True)
class CellOptions:
    """How a cell is run."""

    call: Call
    train: tuple[str, ...] = ()
    """Further arguments of `train`."""
    evaluate: tuple[str, ...] = ()
    """Further arguments of `eval`."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set by a signal to stop."""


def main(program: WarmProgram | None = None) -> None:
    """Run the cell in the given folder, or the cells that requests name; further arguments are passed to `eval`."""
    stopped, call = threading.Event(), program or WarmProgram()
    # Handlers, unlike ignored signals, are not inherited: the run receives SIGTERM itself, saves and exits.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    arguments, evaluate = parsed(sys.argv[1:])
    if arguments.folder is None:
        code = work(call, stopped)
    else:
        exit_with_parent()
        code = run(arguments, evaluate, call, stopped)
    call.close()
    sys.exit(code)


def parsed(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments of a cell, and those of its evaluation."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--anyway", action="store_true", help="train although the prior does not know the prompt's words")
    return parser.parse_known_args(words)


def run(arguments: argparse.Namespace, evaluate: Sequence[str], call: Call, stopped: threading.Event) -> int:
    """The exit code of a cell."""
    train = ("--anyway",) if arguments.anyway else ()
    return run_cell(CellFolder(arguments.folder), CellOptions(call, train, tuple(evaluate), stopped))


def work(call: Call, stopped: threading.Event) -> None:
    """Run the cells that requests name, one after the other, until the sender closes."""
    client, waiting, busy = Client(), queue.SimpleQueue(), threading.Event()
    threading.Thread(target=_receive, args=(client, waiting, busy), daemon=True).start()
    while (request := waiting.get()) is not None:
        with open(request["log"], "ab", buffering=0) as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        try:
            code = run(*parsed([*sys.argv[1:], *request["words"]]), call, stopped)
        except Exception:
            traceback.print_exc()
            code = 1
        busy.clear()
        client.answer(code=code)


def _receive(client: Client, waiting: queue.SimpleQueue, busy: threading.Event) -> None:
    """Pass requests on; kill this process and its run when the sender exits while a cell is at work."""
    for request in client.requests():
        busy.set()
        waiting.put(request)
    if busy.is_set():
        os.killpg(0, signal.SIGKILL)
    waiting.put(None)


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
    code, last_line = _call(folder, options.call, ["train", *words, *options.train])
    completed = code == 0 or (code == EMPTY_SCENE and (folder.run / "report.json").is_file())
    if not completed:
        return _failed(folder, record, code, last_line), record
    record = replace(record, trained=True, remark=last_line if code else None)
    folder.write_record(record)
    return 0, record


def _evaluate(folder: CellFolder, record: Record, options: CellOptions) -> int:
    code, last_line = _call(folder, options.call, ["eval", str(folder.run), "--json", *options.evaluate])
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


def _call(folder: CellFolder, call: Call, words: list[str]) -> tuple[int, str]:
    """The exit code of a command and its last line on stderr."""
    begin = folder.errors.stat().st_size if folder.errors.exists() else 0
    code = call(words, folder.output, folder.errors)
    with folder.errors.open("rb") as errors:
        errors.seek(begin)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return code, lines[-1].strip() if lines else ""


if __name__ == "__main__":
    main()
