"""Files that several processes or many steps write: numbered names, locks. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threefusion.errors import UserError


def numbered(folder: Path, pattern: str) -> list[Path]:
    """The files whose names have a number for the `*` of `pattern`, by that number: as texts, 999800 would follow 1000000."""
    prefix, suffix = pattern.split("*")
    numbers = {path: path.name.removeprefix(prefix).removesuffix(suffix) for path in folder.glob(pattern)}
    return sorted((path for path, number in numbers.items() if number.isdecimal()), key=lambda path: int(numbers[path]))


@contextmanager
def locked(path: Path, problem: str, seconds: float = 0.0) -> Iterator[None]:
    """Hold the file lock `path` during the block; the system releases the locks of processes that die.

    Raises:
        UserError: `problem`, if another process holds it for `seconds`.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=seconds)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(problem) from None
    try:
        yield
    finally:
        lock.release()
