"""Whole commands of this tree against those of another version, in turns: wall time, CPU time and peak memory, and their ratios.

    git worktree add ../before 1d43524
    python -m benchmarks.against ../before                                             # the quickstart from command to mesh
    python -m benchmarks.against ../before --only-here guidance.prior.execution=eager  # without the exported network
    python -m benchmarks.against ../before --busy                                      # beside a process that keeps one core busy
    python -m benchmarks.against ../before trainer.max_steps=1 exporter=null           # from the command to the first step

Both versions run in this interpreter's environment, each with its own sources. A ratio is the median over pairs of neighbouring
runs, which share whatever else the machine was doing; the first pair fills caches and is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from threefusion.machine.process import cores
from threefusion.perf.hardware import processor

HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """Of one command with all of its child processes."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of user and system time."""
    memory: float
    """Largest resident set of a single process, in GiB; that of this one counts too, until the command replaces it."""


def run(tree: Path, command: list[str], log: Path) -> Cost:
    """Run `launch.py` of a tree.

    Raises:
        SystemExit: the command fails.
    """
    environment = os.environ | {"PYTHONPATH": str(tree)}
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "launch.py", *command], cwd=tree, env=environment, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{tree}: {' '.join(command)} failed:\n{log.read_text()}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


@contextmanager
def neighbour(busy: bool) -> Iterator[subprocess.Popen | None]:
    """Another process that uses a whole core, if asked for."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield process
    finally:
        if process is not None:
            process.kill()
            process.wait()


def ratios(pairs: list[tuple[Cost, Cost]]) -> Cost:
    """Of this tree's costs to the other's, each the median over the pairs."""
    each = [[mine / its for mine, its in zip(astuple(here), astuple(there), strict=True)] for here, there in pairs]
    return Cost(*map(statistics.median, zip(*each, strict=True)))


def line(name: str, cost: Cost) -> str:
    """A row of the printed table."""
    return f"{name:<8}{cost.wall:>10.2f}{cost.cpu:>10.2f}{cost.memory:>10.2f}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path, help="a worktree of the other version")
    parser.add_argument("--config", default="configs/quickstart.yaml", help="the config, in both trees (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="counted pairs of runs (%(default)s)")
    parser.add_argument("--busy", action="store_true", help="beside a process that uses a whole core")
    parser.add_argument("--only-here", action="append", default=[], metavar="key=value", help="an override of this tree's run")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of both runs")
    options = parser.parse_intermixed_args()
    command = ["train", "--config", options.config, "--prompt", "a blue car", *options.overrides]
    print(f"{processor()}, {cores()} cores; {' '.join(command + options.only_here)}")
    print(f"{'':<8}{'wall s':>10}{'cpu s':>10}{'peak GiB':>10}")
    pairs = []
    with tempfile.TemporaryDirectory() as folder, neighbour(options.busy):
        for index in range(options.runs + 1):
            out = Path(folder, str(index))
            here = run(HERE, [*command, *options.only_here, "--out", f"{out}-here"], out.with_suffix(".here"))
            there = run(options.tree.resolve(), [*command, "--out", f"{out}-there"], out.with_suffix(".there"))
            if index:
                pairs.append((here, there))
                print(f"{line('here', here)}\n{line('there', there)}", flush=True)
    print(line("ratio", ratios(pairs)))


if __name__ == "__main__":
    main()
