"""What guidance with real models costs: operations, bytes, and the time that a GPU should take; measured too where there is one.

    python -m benchmarks.costs --network stable-diffusion --views 1 4 --gpu H200 L4

Networks have the shapes of the real models at random weights. Counting takes seconds and no memory.
`--measure` needs a CUDA device.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.costs.gpus import GPU, GPUS
from threefusion.cli.parser import Parser
from threefusion.errors import UserError, did_you_mean
from threefusion.machine.process import prepare_process

VIEWS = (1, 4)
BEGIN, END = "<!-- costs -->", "<!-- end of costs -->"


def main(words: list[str] | None = None) -> None:
    """Entry point."""
    parser = Parser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--network", metavar="TEXT", default="", help="only networks with this in their name")
    parser.add_argument("--views", type=int, nargs="+", metavar="N", default=VIEWS, help="views of a step (1 4)")
    parser.add_argument("--gpu", nargs="+", metavar="NAME", help=f"only these: {', '.join(gpu.name for gpu in GPUS)}")
    parser.add_argument("--measure", action="store_true", help="time the calls on this machine's CUDA device as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks in this Markdown file")
    try:
        run(parser.parse_args(words))
    except UserError as error:
        sys.exit(f"error: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        UserError: an unknown GPU or network, or there is nothing to measure on.
    """
    prepare_process()
    from benchmarks.costs.shapes import SHAPES
    from benchmarks.costs.table import as_data, as_markdown, measured, rows

    gpus = chosen_gpus(arguments.gpu)
    shapes = [shape for shape in SHAPES if arguments.network in shape.name]
    if not shapes:
        raise UserError(f"--network: {arguments.network!r} is in none of {', '.join(shape.name for shape in SHAPES)}")
    if min(arguments.views) < 1:
        raise UserError("--views: at least 1")
    if arguments.measure:
        device, gpus = this_gpu(gpus)
        table = [replace(row, measured=measured(row.shape, row.views, device)) for row in rows(shapes, arguments.views, gpus)]
    else:
        table = rows(shapes, arguments.views, gpus)
    text = as_markdown(table, gpus)
    if arguments.page:
        write(arguments.page, text)
    print(json.dumps(as_data(table), indent=2) if arguments.json else text)


def chosen_gpus(names: list[str] | None) -> tuple[GPU, ...]:
    """The GPUs of these names, or all.

    Raises:
        UserError: one is unknown.
    """
    known = {gpu.name: gpu for gpu in GPUS}
    for name in names or ():
        if name not in known:
            raise UserError(f"--gpu: {name!r} is not one of {', '.join(known)}{did_you_mean(name, known)}")
    return tuple(known[name] for name in names or known)


def this_gpu(gpus: tuple[GPU, ...]) -> tuple:
    """The CUDA device, and the GPUs with that of this machine as the first one.

    Raises:
        UserError: there is none, or its peaks are not known.
    """
    import torch

    if not torch.cuda.is_available():
        raise UserError("--measure: needs a CUDA device, and torch sees none")
    name = torch.cuda.get_device_name()
    own = next((gpu for gpu in GPUS if gpu.name in name), None)
    if own is None:
        raise UserError(f"--measure: the peaks of {name} are not in benchmarks/costs/gpus.py")
    return torch.device("cuda"), (own, *(gpu for gpu in gpus if gpu != own))


def write(page: Path, text: str) -> None:
    """Put the table between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
