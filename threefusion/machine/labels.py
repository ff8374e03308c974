"""Output of several threads on one terminal or in one log: whole lines that begin with the name of their thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_own = threading.local()


@contextmanager
def label(name: str) -> Iterator[None]:
    """Let what this thread prints inside the block begin with a name; with an empty one it is printed as it is."""
    before = getattr(_own, "name", "")
    _own.name = name
    try:
        yield
    finally:
        _own.name = before


@contextmanager
def labelled_output() -> Iterator[None]:
    """Respect `label` inside the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Labelled(before[0]), Labelled(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class Labelled:
    """A stream whose lines begin with the label of the thread that writes them."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._begun = threading.local()

    def write(self, text: str) -> int:
        """Write the lines that are complete; the rest waits for its end."""
        if not (name := getattr(_own, "name", "")):
            return self._stream.write(text)
        *lines, self._begun.text = (getattr(self._begun, "text", "") + text).split("\n")
        with self._lock:
            for line in lines:
                self._stream.write(f"{name}: {line}\n" if line.strip() else "\n")
        return len(text)

    def isatty(self) -> bool:
        """Whether lines can be drawn again, which several threads would do to each other's."""
        return not getattr(_own, "name", "") and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        """The stream's own."""
        return getattr(self._stream, name)
