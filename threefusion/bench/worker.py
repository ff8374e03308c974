"""Workers: processes that run jobs one after the other, so that jobs share what a process loads. Loads no torch."""

from __future__ import annotations

import signal

from threefusion.bench.executor import Job, Process, Running, environment_of
from threefusion.bench.requests import Ended, Server


class Worker(Running):
    """A process that runs the jobs of one kind: the leader of its own process group, which ends with it and with its parent."""

    def __init__(self, job: Job) -> None:
        """Start it for jobs such as this one."""
        self.kind = kind_of(job)
        with job.log.open("ab") as log:
            options = {"stdout": log, "stderr": log, "cwd": job.folder, "start_new_session": True}
            self._server = Server(job.worker, env=environment_of(job), **options)
        self._code: int | None = None
        self.alive = True
        """Whether it can run another job."""

    @property
    def group(self) -> int:
        """The number of the process."""
        return self._server.pid

    def run(self, job: Job) -> None:
        """Begin a job; the one before has ended."""
        self.job, self._code = job, None
        self._server.send({"words": job.command[-job.own :], "log": str(job.log)})

    def code(self) -> int | None:
        """The exit code of the job; where the process has ended, its remaining children are killed."""
        if self._code is None:
            try:
                answer = self._server.answer(wait=False)
                self._code = None if answer is None else answer["code"]
            except Ended as ended:
                self._code, self.alive = ended.code, False
                self.signal(signal.SIGKILL)
        return self._code

    def close(self) -> None:
        """End an idle process with its children."""
        if self.alive:
            self._server.close()
            self.signal(signal.SIGKILL)


class Slot:
    """Where one job runs at a time; its worker is kept for the jobs that follow."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def start(self, job: Job) -> Running:
        """Start a job: in the worker, in a new one if that has ended or is of another kind, or in a process of its own."""
        if not job.own:
            return Process(job)
        if self._worker is None or not self._worker.alive or self._worker.kind != kind_of(job):
            self.close()
            self._worker = Worker(job)
        self._worker.run(job)
        return self._worker

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()


def kind_of(job: Job) -> tuple[object, ...]:
    """Jobs with equal ones can share a worker."""
    return job.worker, job.folder, dict(job.environment)
