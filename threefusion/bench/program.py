"""A process that runs the commands of requests, from its own side. Loads no torch."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from threefusion.bench.requests import Client

COMMANDS = 64
"""After so many commands the process is replaced."""
GROWTH = 2**30
"""So many bytes more than after its first two commands a process may hold."""


def is_worn(held: Sequence[int]) -> bool:
    """Whether a process has run enough commands, after each of which it held so many bytes.

    >>> is_worn([100, 200, 150]), is_worn([100, 200, 300 + GROWTH])
    (False, True)
    """
    return len(held) >= COMMANDS or held[-1] > max(held[:2]) + GROWTH


def serve(run: Callable[[Sequence[str]], int], leaves: Callable[[int], bool]) -> None:
    """Answer each request with the exit code of its command, and whether the process ends then, which `leaves` decides."""
    client = Client()
    for request in client.requests():
        with written_to(Path(request["stdout"]), Path(request["stderr"])):
            code = code_of(run, request["words"])
        last = leaves(code)
        client.answer(code=code, leaves=last)
        if last:
            break
    os._exit(0)  # nothing is left to be saved, and the interpreter would take seconds to end


@contextmanager
def written_to(output: Path, errors: Path) -> Iterator[None]:
    """Let stdout and stderr append to files, also those of libraries that are not written in Python."""
    sys.stdout.flush()
    sys.stderr.flush()
    for stream, path in ((1, output), (2, errors)):
        with path.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def code_of(run: Callable[[Sequence[str]], int | None], words: Sequence[str]) -> int:
    """The exit code of a command, as the interpreter would exit with it."""
    try:
        code = run(words)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        return 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        return 1
    return code or 0
