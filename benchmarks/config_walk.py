"""The way of one override through `check`: the files whose functions are called, the calls, and the moves from file to file.

python benchmarks/config_walk.py [CONFIG] [key=value ...]
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

PACKAGE = str(Path(__file__).resolve().parents[1] / "threefusion")


class Walk:
    """Counts calls into the package while it is installed as the profile function."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.moves = 0
        self._last = ""

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Count a call; it is a move if the call before it was into another file."""
        file = frame.f_code.co_filename
        is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # a class body runs once, when its module is imported
        if event != "call" or not file.startswith(PACKAGE) or frame.f_code.co_name.startswith("<") or not is_function:
            return
        self.calls[file.removeprefix(PACKAGE + "/")] += 1
        self.moves += file != self._last
        self._last = file


def main(words: list[str]) -> None:
    """Trace one `check` and print what it visited."""
    from threefusion.cli.check import check_command
    from threefusion.cli.main import VERBS
    from threefusion.cli.parser import parse

    arguments = parse(VERBS, "check", words or ["configs/quickstart.yaml", "guidance.guidance_scale=7"])
    walk = Walk()
    sys.setprofile(walk)
    try:
        check_command(arguments)
    finally:
        sys.setprofile(None)
    for file, count in walk.calls.most_common():
        print(f"{count:6} {file}")
    print(f"{len(walk.calls)} files, {walk.calls.total()} calls, {walk.moves} moves between files")


if __name__ == "__main__":
    main(sys.argv[1:])
