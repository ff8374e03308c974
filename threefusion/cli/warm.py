"""Runs command lines one after the other, each as if in a process of its own: `python -m threefusion.cli.warm`."""

from __future__ import annotations

import sys

from threefusion.bench.program import is_worn, serve
from threefusion.cli.main import main, program
from threefusion.machine.process import prepare_process
from threefusion.machine.standins import use_stand_ins


def run() -> None:
    """Run the command lines that requests name, or the one that is given: a run starts its further processes so."""
    if sys.argv[1:]:
        program()
    use_stand_ins()
    prepare_process()
    from threefusion.bench.fresh import FreshProcess

    process, held = FreshProcess(), []

    def leaves(code: int) -> bool:
        held.append(process.renew())
        return code != 0 or process.spread or is_worn(held)

    serve(lambda words: process.run(main, words), leaves)


if __name__ == "__main__":
    run()
