"""Executor for this machine: one worker per GPU, or per group of cores without a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from threefusion.bench.executor import Ended, Executor, Job, stop
from threefusion.bench.worker import Slot
from threefusion.machine.process import cores


class LocalExecutor(Executor):
    """Runs as many jobs at a time as there are workers; each worker adds its own environment."""

    def __init__(self, workers: Sequence[Mapping[str, str]]) -> None:
        self.workers = list(workers)

    def submit(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs, yielding each as it ends."""
        slots = [(Slot(), environment) for environment in self.workers]
        waiting, free, running = deque(jobs), deque(slots), {}
        try:
            while waiting or running:
                while waiting and free:
                    job, (slot, environment) = waiting.popleft(), free.popleft()
                    started = slot.start(replace(job, environment={**job.environment, **environment}))
                    running[started] = job, (slot, environment)
                ended = [(process, code) for process in running if (code := process.code()) is not None]
                for process, code in ended:
                    job, place = running.pop(process)
                    free.append(place)
                    yield Ended(job, code)
                if not ended:
                    time.sleep(0.05)
        finally:
            stop(running)
            for slot, _ in slots:
                slot.close()


def workers(jobs: int | None, threads: int) -> list[dict[str, str]]:
    """The environments of the workers: `jobs` of them, by default one per GPU, or one per `threads` cores."""
    gpus = visible_gpus()
    count = jobs or len(gpus) or max(1, cores() // threads)
    shares = [{"OMP_NUM_THREADS": str(threads)} for _ in range(count)]
    return [share | ({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}) for index, share in enumerate(shares)]


def visible_gpus() -> list[str]:
    """Values of CUDA_VISIBLE_DEVICES for one GPU each, from nvidia-smi rather than torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return listed.stdout.split() if listed.returncode == 0 else []
