"""`perf`, with every time compared to its floor: `python -m benchmarks.floors SUBJECT`, with the options of `perf`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from benchmarks.floors.architectures import ARCHITECTURES
from threefusion.cli.parser import Parser
from threefusion.cli.perf import check, chosen_sizes, perf_arguments, show
from threefusion.errors import UserError, did_you_mean
from threefusion.machine.process import prepare_process

if TYPE_CHECKING:
    import torch

    from threefusion.perf.suite import Sizes
    from threefusion.perf.timing import Candidate


def main(words: list[str] | None = None) -> None:
    """Entry point."""
    parser = Parser(prog="python -m benchmarks.floors", description=__doc__)
    perf_arguments(parser)
    parser.add_argument("--architecture", metavar="NAME", help="guidance: a real model's shape at random weights; needs a GPU")
    try:
        run(parser.parse_args(words))
    except UserError as error:
        sys.exit(f"error: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Measure candidates and probes together, and print what came out.

    Raises:
        UserError: nothing that can be measured.
    """
    check(arguments)
    name = arguments.architecture
    if name is not None and arguments.subject != "guidance":
        raise UserError("--architecture: for the subject guidance only")
    if name not in (None, *ARCHITECTURES):
        near = did_you_mean(name, ARCHITECTURES)
        raise UserError(f"--architecture: {name!r} is not one of {', '.join(ARCHITECTURES)}{near}")
    prepare_process()
    from benchmarks.floors.floors import as_data, as_markdown, with_floors
    from threefusion.perf.suite import measure

    subjects = {subject: with_probes(subject, sizes, name) for subject, sizes in chosen_sizes(arguments).items()}
    report = measure(subjects, arguments.threads or (), arguments.repetitions, arguments.processor_time)
    rows, rates = with_floors(report, name)
    command = "python -m benchmarks.floors all --out FILE"
    show(arguments, as_data(report, rows, rates), as_markdown(report, rows, rates), command)


def with_probes(subject: str, sizes: Sizes, architecture: str | None) -> Callable[[torch.device], Iterator[Candidate]]:
    """The candidates of a subject, and the probes of the hardware."""
    from benchmarks.floors.architecture import DTYPE, architecture_candidates
    from benchmarks.floors.probes import probes
    from threefusion.perf.suite import SUBJECTS

    def candidates(device: torch.device) -> Iterator[Candidate]:
        if architecture is None:
            yield from SUBJECTS[subject](sizes, device)
        elif device.type != "cuda":
            raise UserError("--architecture: networks of full size are timed on a CUDA device, and torch sees none")
        else:
            yield from architecture_candidates(ARCHITECTURES[architecture], sizes.batch, DTYPE, device)
        yield from probes(device)

    return candidates


if __name__ == "__main__":
    main()
