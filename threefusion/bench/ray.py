"""Executor for Ray clusters. The benchmark's folder must be on a file system that all machines share."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from threefusion.bench.executor import GRACE_SECONDS, Ended, Executor, Job, Process, stop
from threefusion.errors import UserError
from threefusion.machine.optional import require


class RayExecutor(Executor):
    """A Ray task per job, on the cluster of RAY_ADDRESS, the one that runs on this machine, or a new one."""

    def __init__(self, jobs: int | None, threads: int) -> None:
        self.ray = require("ray")
        self.jobs, self.threads = jobs, threads

    def submit(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs, yielding each as it ends. A job whose machine is lost is started again on another one."""
        ray, started = self.ray, not self.ray.is_initialized()
        if started:
            ray.init(log_to_driver=False, logging_level="warning")
        waiting, running = list(reversed(jobs)), {}
        try:
            task = ray.remote(run_job).options(max_retries=3, **self._share())
            while waiting or running:
                while waiting and (self.jobs is None or len(running) < self.jobs):
                    job = waiting.pop()
                    running[task.remote(job)] = job
                (reference, *_), _ = ray.wait(list(running), num_returns=1)
                yield self._ended(running.pop(reference), reference)
        finally:
            self._cancel(list(running))
            if started:
                ray.shutdown()

    def _share(self) -> dict[str, int]:
        """What one job takes of a machine.

        Raises:
            UserError: no machine has as much.
        """
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = int(any(machine.get("GPU", 0) >= 1 for machine in machines))
        if not any(machine.get("CPU", 0) >= self.threads and machine.get("GPU", 0) >= gpus for machine in machines):
            raise UserError(f"threads: no machine of the Ray cluster has {self.threads} cores to give to a cell")
        return {"num_cpus": self.threads, "num_gpus": gpus}

    def _ended(self, job: Job, reference: Any) -> Ended:
        try:
            return Ended(job, self.ray.get(reference))
        except self.ray.exceptions.RayError as error:
            return Ended(job, 1, str(error).strip().splitlines()[-1])

    def _cancel(self, references: list[Any]) -> None:
        for force, seconds in ((False, GRACE_SECONDS + 5), (True, 5)):
            for reference in references:
                self.ray.cancel(reference, force=force)
            if references:
                _, references = self.ray.wait(references, num_returns=len(references), timeout=seconds)


def run_job(job: Job) -> int:
    """The exit code of a job, run here; cancelling the task stops it."""
    # Ray cancels by SIGINT's handler, which is missing where the cluster was started by a script in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = Process(job)
    try:
        while (code := process.code()) is None:
            time.sleep(0.05)
        return code
    except KeyboardInterrupt:
        stop([process])
        return -signal.SIGTERM
    finally:
        process.signal(signal.SIGKILL)
