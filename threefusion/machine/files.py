"""Files that appear whole or not at all, numbered names, locks. Loads no torch."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from threefusion.errors import UserError
from threefusion.messages import Noted, send

TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp(\.\w+)?")
"""Name of a temporary file, with the process that writes it."""


def numbered(folder: Path, pattern: str) -> list[Path]:
    """The files whose names have a number for the `*` of `pattern`, by that number: as texts, 999800 would follow 1000000."""
    prefix, suffix = pattern.split("*")
    numbers = {path: path.name.removeprefix(prefix).removesuffix(suffix) for path in folder.glob(pattern) if path.is_file()}
    return sorted((path for path, number in numbers.items() if number.isdecimal()), key=lambda path: int(numbers[path]))


@contextmanager
def locked(path: Path, problem: str, seconds: float = 0.0) -> Iterator[None]:
    """Hold the file lock `path` during the block; the system releases the locks of processes that die.

    A process can hold a lock several times.

    Raises:
        UserError: `problem`, if another process holds it for `seconds`.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise UserError(problem) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which is created if need be; at the end of the block it is renamed to `path`.

    After an error nothing of it remains.

    Raises:
        UserError: the system refuses to write, as on a full disk; the message names `path`.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        # where nothing can be written, nothing needs to be removed
        with suppress(OSError):
            temporary.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Write a text so that readers see the old file or the new one.

    Raises:
        UserError: as `written`.
    """
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically; an existing file that has none of its keys was not written by a run, and is renamed.

    Raises:
        UserError: as `written`.
    """
    if os.path.lexists(path) and not content.keys() & (read_json(path) or {}).keys():
        send(Noted(f"{path}: not as this run wrote it; kept as {set_aside(path).name}"))
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if it is missing or incomplete."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error of a user whose disk is full or whose folder is read-only."""
    return UserError(f"{path}: cannot be written ({error.strerror or error})")


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in `folder` and below."""
    for path in list(folder.rglob(".*.tmp*")):
        name = TEMPORARY.fullmatch(path.name)
        # a process in a container may have the same number as the one before it
        if name and (int(name[1]) == os.getpid() or not _is_running(int(name[1]))):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def set_aside(path: Path) -> Path:
    """The new name of a file or folder that was renamed to `NAME.kept-N.SUFFIX`."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.stem}.kept-{number}{path.suffix}")):
        number += 1
    path.rename(kept)
    return kept
