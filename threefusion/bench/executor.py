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
    own: int = 0
    """How many words at the end of the command are this job's alone. Without them the command starts a worker, a process that
    runs jobs one after the other; 0 if it does not."""

    @property
    def worker(self) -> tuple[str, ...]:
        """The command of a worker."""
        return self.command[: -self.own]


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


class Running(ABC):
    """A job at work in a process group."""

    job: Job

    @property
    @abstractmethod
    def group(self) -> int:
        """The number of the process group."""

    @abstractmethod
    def code(self) -> int | None:
        """The exit code of the job, None while it runs."""

    def signal(self, number: int) -> None:
        """Send a signal to everything that belongs to the job."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, number)


class Process(Running):
    """A job in a process of its own: the leader of its process group, which ends with it and with its parent."""

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
                env=environment_of(job),
                start_new_session=True,
            )

    @property
    def group(self) -> int:
        """The number of the process."""
        return self._popen.pid

    def code(self) -> int | None:
        """The exit code, None while it runs; its remaining children are killed when it has ended."""
        code = self._popen.poll()
        if code is not None:
            self.signal(signal.SIGKILL)
            self._popen.stdin.close()
        return code


def stop(processes: Iterable[Running], grace: float = GRACE_SECONDS) -> None:
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


def environment_of(job: Job) -> dict[str, str]:
    """The whole environment of a job on this machine."""
    return {**os.environ, **job.environment}
