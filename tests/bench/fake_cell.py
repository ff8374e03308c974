"""A cell like the real one, but for the program that it calls."""

import sys
from functools import partial
from pathlib import Path

import psutil

from threefusion.bench import cell

COMMAND = (sys.executable, str(Path(__file__)))
"""Makes a cell without torch: see fake_program.py."""


def at_work(out: Path) -> list[psutil.Process]:
    """Processes that were started for cells of `out`."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if any(str(out) in word for word in process.info["cmdline"] or ())
    ]


if __name__ == "__main__":
    cell.CellOptions = partial(cell.CellOptions, program=(sys.executable, str(Path(__file__).with_name("fake_program.py"))))
    cell.main()
