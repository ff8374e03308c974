"""Commands of threefusion for the cells of a benchmark, one after the other in the same process. Loads no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from threefusion.bench.requests import Ended, Server
from threefusion.run.folder import RUN_VARIABLE

Call = Callable[[Sequence[str], Path, Path], int]
"""Runs a command, which appends to two files what it writes to stdout and stderr. Returns its exit code, negative for the signal
that killed its process."""


class WarmProgram:
    """One command after the other in the same process; in a new one after that has ended."""

    def __init__(self, program: Sequence[str] = (sys.executable, "-m", "threefusion.cli.warm")) -> None:
        self.program = program
        self._server: Server | None = None

    def __call__(self, words: Sequence[str], output: Path, errors: Path) -> int:
        """The exit code of a command."""
        self._server = self._server or Server(self.program, env=own_environment())
        self._server.send({"words": list(words), "stdout": str(output), "stderr": str(errors)})
        try:
            answer = self._server.answer(wait=True)
        except Ended as ended:
            self._server = None
            return ended.code
        if answer["leaves"]:
            self.close()
        return answer["code"]

    def close(self) -> None:
        """End the process, which is idle."""
        if self._server is not None:
            self._server.close()
            self._server = None


def own_environment() -> dict[str, str]:
    """The environment of a command: it is no process of another run."""
    return {name: value for name, value in os.environ.items() if name != RUN_VARIABLE}
