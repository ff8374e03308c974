"""One line on stderr that is redrawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time


class ProgressLine:
    """A bar on a terminal; elsewhere (a log file) a line for each new task and one every ten seconds."""

    def __init__(self, title: str = "") -> None:
        self.bar = None
        self._what, self._drawn = "", 0.0
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            text = [TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]")]
            columns = text[0], BarColumn(None), text[1], TimeElapsedColumn()
            # stdout has the results: it is left alone
            console = Console(stderr=True)
            self.bar = Progress(*columns, console=console, transient=True, expand=True, redirect_stdout=False)
            self._task = self.bar.add_task(title, total=None, note="")
            self.bar.start()

    def is_due(self, what: str) -> bool:
        """Whether it is time to draw: ten times a second on a terminal."""
        return what != self._what or time.monotonic() - self._drawn >= (0.1 if self.bar else 10.0)

    def draw(self, what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        """Show `what`, how many are done of how many, and a note, if it is time to."""
        if not self.is_due(what):
            return
        self._what, self._drawn = what, time.monotonic()
        text = f"{what} {done or ''}".rstrip() if total is None else f"{what} {done}/{total}"
        if self.bar:
            self.bar.update(self._task, description=text, completed=done, total=total, note=note)
        else:
            print(f"{text}  {note}".rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar:
            self.bar.stop()
