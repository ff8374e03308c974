"""The command `perf`. Loads no torch."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from threefusion.perf.suite import Sizes

TAKES = {
    "encode": ("points",),
    "march": ("batch", "resolution"),
    "composite": ("batch", "resolution"),
    "rasterize": ("resolution",),
    "mlp": ("points",),
    "step": ("batch", "resolution"),
    "guidance": ("batch",),
}
"""Subjects, and which of the sizes each has."""
SIZES = ("points", "batch", "resolution")
DEFAULTS = {"rasterize": {"resolution": (64, 256, 512)}, "guidance": {"batch": (1, 2, 4, 8)}}
"""Sizes that differ from the default ones."""
ALL = "all"


def perf_arguments(parser: Parser) -> None:
    """Arguments of `perf`."""
    parser.add_argument("subject", metavar="SUBJECT", help=f"{', '.join(TAKES)}, or {ALL}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--threads", type=int, nargs="+", metavar="N", help="thread counts, measured one after the other (all cores)"
    )
    parser.add_argument("--points", type=int, nargs="+", metavar="N", help="encode, mlp: numbers of points (32768 262144)")
    parser.add_argument("--batch", type=int, nargs="+", metavar="N", help="numbers of views (1 2 4; guidance 1 2 4 8)")
    parser.add_argument(
        "--resolution", type=int, nargs="+", metavar="N", help="image sizes in pixels (64 32 128; rasterize 64 256 512)"
    )
    parser.add_argument("--repetitions", type=int, default=9, metavar="N", help="repetitions after two warm-ups (9)")
    parser.add_argument(
        "--processor-time", action="store_true", help="measure processor time instead of wall time, for busy machines"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables to this Markdown file")


def perf_command(arguments: argparse.Namespace) -> int:
    """Time the hot operations against the torch reference."""
    check(arguments)
    from threefusion.machine.process import prepare_process

    prepare_process()
    from threefusion.perf.report import as_markdown
    from threefusion.perf.suite import SUBJECTS, measure

    subjects = {name: partial(SUBJECTS[name], sizes) for name, sizes in chosen_sizes(arguments).items()}
    report = measure(subjects, arguments.threads or (), arguments.repetitions, arguments.processor_time)
    show(arguments, report.as_data(), as_markdown(report), "perf all --out FILE")
    return 0


def chosen_sizes(arguments: argparse.Namespace) -> dict[str, Sizes]:
    """The chosen subjects with their sizes."""
    from threefusion.perf.suite import Sizes

    names = list(TAKES) if arguments.subject == ALL else [arguments.subject]
    given = {option: getattr(arguments, option) for option in SIZES if getattr(arguments, option) is not None}
    return {name: Sizes(**(DEFAULTS.get(name, {}) | given)) for name in names}


def show(arguments: argparse.Namespace, data: dict[str, Any], page: str, command: str) -> None:
    """Print the measurement, and write the page that `--out` names."""
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        introduction = INTRODUCTION.format(command=command)
        arguments.out.write_text(f"# Performance, measured\n\n{introduction}\n\n{page}\n", encoding="utf-8")
    print(json.dumps(data, indent=2) if arguments.json else page)


def check(arguments: argparse.Namespace) -> None:
    """Refuse arguments that cannot be measured.

    Raises:
        UserError: unknown subject, an option that the subject does not have, or a number below 1.
    """
    if arguments.subject not in (*TAKES, ALL):
        near = did_you_mean(arguments.subject, (*TAKES, ALL))
        raise UserError(f"perf: {arguments.subject!r} is not one of {', '.join(TAKES)}, {ALL}{near}")
    for option in SIZES:
        if getattr(arguments, option) is not None and option not in TAKES.get(arguments.subject, ()):
            takes = ", ".join(f"--{name}" for name in TAKES.get(arguments.subject, ())) or "no sizes"
            raise UserError(f"--{option}: not for perf {arguments.subject}, which takes {takes}")
    for option in ("threads", "points", "batch", "resolution"):
        if any(number < 1 for number in getattr(arguments, option) or ()):
            raise UserError(f"--{option}: at least 1")
    if arguments.processor_time and arguments.threads != [1]:
        raise UserError("--processor-time: sums over all threads, so it needs --threads 1")
    if arguments.repetitions < 1:
        raise UserError("--repetitions: at least 1")


INTRODUCTION = """Written by `{command}`; [what is timed, and what the columns mean](../performance.md). Milliseconds
are those of this machine in that hour; compare ratios."""

PERF = Verb(
    "Time the hot operations against plain torch.",
    perf_arguments,
    perf_command,
    ("perf encode", "perf step --threads 1 2 --json", "perf all --threads 1 2 --out performance.md"),
)
