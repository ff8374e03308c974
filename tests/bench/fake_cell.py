"""A cell like the real one, but for the program that it calls."""

import sys
from pathlib import Path

import psutil

from threefusion.bench import cell
from threefusion.bench.call import WarmProgram

COMMAND = (sys.executable, str(Path(__file__)))
"""Makes a cell without torch: see fake_program.py."""


def at_work(out: Path) -> list[psutil.Process]:
    """Processes that were started for cells of `out`, or write to files there."""
    return [process for process in psutil.process_iter(["cmdline", "open_files"]) if concerns(process.info, str(out))]


def concerns(process: dict, folder: str) -> bool:
    return any(folder in text for text in (*(process["cmdline"] or ()), *(file.path for file in process["open_files"] or ())))


if __name__ == "__main__":
    cell.main(WarmProgram((sys.executable, str(Path(__file__).with_name("fake_program.py")))))
