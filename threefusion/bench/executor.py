"""The executor interface, and a process with all its children. Loads no torch."""

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
"""How long a run may take to save itself after SIGTERM."""


@dataclass(frozen=True)
class Job:
    """A command that can be started on any machine, any number of times."""

    name: str
    command: tuple[str, ...]
    log: Path
    """Receives the command's output; absolute."""
    folder: Path
    """Its working directory; absolute."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the machine where it runs."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    job: Job
    code: int
    """Exit code; negative for the signal that killed it."""
    problem: str | None = None
    """Why it could not be run at all."""


class Executor(ABC):
    """Runs jobs. To add an executor, implement this method and list the class in threefusion/cli/bench.py."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs, yielding each as it ends, in any order.

        Closing the iterator, or an exception in it, stops the running jobs: first with SIGTERM, then with SIGKILL.
        """


class Process:
    """A running job: the leader of its own process group, which ends with it and with its parent."""

    def __init__(self, job: Job) -> None:
        self.job = job
        with job.log.open("ab") as log:
            # nothing is written to the pipe: when it closes, the job knows that this process has exited
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
        """The exit code, None while it runs; its remaining children are killed when it has ended."""
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
    """Send SIGTERM, and kill processes that still run after `grace` seconds or at a second Ctrl-C."""
    running = list(processes)
    for process in running:
        process.signal(signal.SIGTERM)  # not SIGINT, which processes started in the background ignore
    deadline = time.monotonic() + grace
    try:
        while (running := [process for process in running if process.code() is None]) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for process in running:
            process.signal(signal.SIGKILL)
        while any(process.code() is None for process in running):
            time.sleep(0.01)
