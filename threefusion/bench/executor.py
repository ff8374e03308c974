"""Where cells run: the interface, and one process with everything it starts. Loads no torch."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GRACE_SECONDS = 30.0
"""How long a run may take to save itself after it was asked to stop."""


@dataclass(frozen=True)
class Job:
    """A command that may be started anywhere and any number of times."""

    name: str
    command: tuple[str, ...]
    log: Path
    """Receives what the command itself writes; absolute."""
    folder: Path
    """The directory it is run in; absolute."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to that of the machine where it runs."""


@dataclass(frozen=True)
class Ended:
    """A job that is over."""

    job: Job
    code: int
    """Exit code; negative: the number of the signal that killed it."""
    problem: str | None = None
    """Why it could not be run at all."""


class Executor(ABC):
    """Runs jobs. To add one, write a class with this method and name it in threefusion/cli/bench.py."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs, yielding each as it ends, in any order.

        Closing the iterator, or an exception in it, stops those that run: first with SIGTERM, then by force.
        """


class Process:
    """A running job: the head of a process group of its own, which ends with it and with whoever started it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        with job.log.open("ab") as log:
            # The pipe is never written to: that it closes tells the job that this process is gone.
            self._popen = subprocess.Popen(
                job.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=job.folder,
                env={**os.environ, **job.environment},
                start_new_session=True,
            )

    def code(self) -> int | None:
        """The exit code, None while it runs; nothing of it is left afterwards."""
        code = self._popen.poll()
        if code is not None:
            self.signal(signal.SIGKILL)
            self._popen.stdin.close()
        return code

    def signal(self, number: int) -> None:
        """Send a signal to everything that belongs to the job."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)


def stop(processes: Iterable[Process], grace: float = GRACE_SECONDS) -> None:
    """Ask processes to save and end, and kill those that have not after `grace` seconds or at a second Ctrl-C."""
    running = list(processes)
    for process in running:
        process.signal(signal.SIGTERM)  # not SIGINT, which whatever a script starts in the background ignores
    deadline = time.monotonic() + grace
    try:
        while (running := [process for process in running if process.code() is None]) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for process in running:
            process.signal(signal.SIGKILL)
        while any(process.code() is None for process in running):
            time.sleep(0.01)
