"""Files that a run has exported, which later exports may replace; all other files are kept. Loads no torch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threefusion.machine.checksums import checksums
from threefusion.machine.files import cannot_write, read_json, remove_temporaries, set_aside, write_atomically
from threefusion.messages import Noted, send

LIST = "exported.json"


class ExportedFiles:
    """Remembers in exported.json the path and checksums of every file that it has moved into a run."""

    def __init__(self, run: Path) -> None:
        self.run = run
        listed = (read_json(run / LIST) or {}).items()
        self._sums: dict[str, list[str]] = {name: sums for name, sums in listed if is_inside(name) and isinstance(sums, list)}
        self._moved: set[Path] = set()

    @contextmanager
    def folder(self, target: Path) -> Iterator[Path]:
        """An empty folder for the block; its files are moved into `target` in the end.

        A file of the same name that the run has not exported, or that has changed since, is renamed.

        Raises:
            UserError: the disk is full, or `target` is no folder.
        """
        waiting = self.run / f".{target.name}.{os.getpid()}.tmp"
        try:
            remove_temporaries(self.run)
            waiting.mkdir()
            yield waiting
            files = {path: target / path.relative_to(waiting) for path in sorted(waiting.rglob("*")) if path.is_file()}
            for path, new in files.items():
                # before it is moved: a killed process must not leave a file that counts as not exported
                self._sums[self._name(new)] = [*self._sums.get(self._name(new), [])[-1:], *checksums(path)]
            if os.path.lexists(self.run / LIST) and read_json(self.run / LIST) is None:
                send(Noted(f"{self.run / LIST}: no list of exports; kept as {set_aside(self.run / LIST).name}"))
            write_atomically(self.run / LIST, json.dumps(self._sums, indent=2) + "\n")
            for path, new in files.items():
                new.parent.mkdir(parents=True, exist_ok=True)
                if os.path.lexists(new) and not self._is_ours(new):
                    send(Noted(f"{new}: not as it was exported; kept as {set_aside(new).name}"))
                os.replace(path, new)
                self._moved.add(new)
        except OSError as error:
            raise cannot_write(target, error) from error
        finally:
            shutil.rmtree(waiting, ignore_errors=True)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """What was exported before the block and not in it is removed at its end; after an error it gets another name."""
        try:
            yield
        except BaseException:
            for path in self._earlier():
                set_aside(path)
            raise
        for path in self._earlier():
            path.unlink()

    def _earlier(self) -> list[Path]:
        return [path for path in map(self.run.joinpath, self._sums) if path not in self._moved and self._is_ours(path)]

    def is_changed(self, path: Path) -> bool:
        """Whether a file was exported, and is another now."""
        return path.is_relative_to(self.run) and self._name(path) in self._sums and not self._is_ours(path)

    def _is_ours(self, path: Path) -> bool:
        return path.is_file() and checksums(path)[0] in self._sums.get(self._name(path), [])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run).as_posix()


def is_inside(name: str) -> bool:
    """Whether a relative path stays in its folder."""
    return not os.path.isabs(name) and not os.path.normpath(name).startswith("..")
