"""The command `bench`. Loads no torch."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from threefusion.cli.parser import PROGRAM, Parser, Verb
from threefusion.errors import UserError
from threefusion.machine.optional import require

if TYPE_CHECKING:
    from threefusion.bench.executor import Executor
    from threefusion.bench.plan import Plan

EXECUTORS = ("local", "ray")


def bench_arguments(parser: Parser) -> None:
    """Arguments of `bench`."""
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the benchmark, a YAML file")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the benchmark (runs/bench/<name>); finished cells are kept"
    )
    parser.add_argument("--executor", choices=EXECUTORS, default="local", help="local: this machine; ray: a Ray cluster (local)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="number of cells to run in parallel (one per GPU or group of cores)"
    )
    parser.add_argument("--redo", action="store_true", help="train cells again if their settings have changed")
    parser.add_argument("--anyway", action="store_true", help="train even if a bundled prior does not know a prompt")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of all runs")


def bench_command(arguments: argparse.Namespace) -> int:
    """Check every run of a benchmark, then make what is missing. Returns 0, or 1 if a cell failed."""
    from threefusion.bench.plan import load_plan
    from threefusion.config.sections import WandbConfig

    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError("--jobs: at least 1")
    plan = load_plan(arguments.config, arguments.overrides, arguments.anyway)
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    executor = choose_executor(arguments.executor, arguments.jobs, plan)
    if isinstance(plan.logger, WandbConfig):
        require("wandb")
    from threefusion.bench.benchmark import CELL_COMMAND, run_benchmark
    from threefusion.bench.markdown import as_markdown
    from threefusion.bench.report import as_data

    folder = arguments.out or Path("runs") / "bench" / plan.name
    command = (*CELL_COMMAND, *(["--anyway"] if arguments.anyway else []))
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        report = run_benchmark(plan, folder, executor, arguments.redo, command)
    except KeyboardInterrupt:
        print(f"stopped. Resume with: {resume_command(arguments, folder)}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    print(json.dumps(as_data(report, folder), indent=2, ensure_ascii=False) if arguments.json else as_markdown(report))
    failed = report.table.count("failed")
    if failed:
        again = resume_command(arguments, folder)
        print(f"{failed} of {len(report.table.rows)} cells failed. After fixing the cause: {again}", file=sys.stderr)
    return 1 if failed else 0


def choose_executor(name: str, jobs: int | None, plan: Plan) -> Executor:
    """The executor of this name.

    Raises:
        MissingPackageError: it needs a package that is not installed.
    """
    if name == "ray":
        from threefusion.bench.ray import RayExecutor

        return RayExecutor(jobs, plan.threads)
    from threefusion.bench.local import LocalExecutor, workers

    return LocalExecutor(workers(jobs, plan.threads))


def resume_command(arguments: argparse.Namespace, folder: Path) -> str:
    """The command line that continues a benchmark."""
    import shlex

    words = ["--config", str(arguments.config), "--out", str(folder)]
    words += ["--executor", arguments.executor] if arguments.executor != "local" else []
    words += ["--jobs", str(arguments.jobs)] if arguments.jobs else []
    words += ["--anyway"] if arguments.anyway else []
    return f"{PROGRAM} bench {shlex.join([*words, *arguments.overrides])}"


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


BENCH = Verb(
    "Compare variants over prompts and seeds: many runs, one table.",
    bench_arguments,
    bench_command,
    (
        "bench --config configs/bench/quick.yaml",
        "bench --config configs/bench/toyworld.yaml --out runs/bench/toyworld --executor ray",
    ),
)
