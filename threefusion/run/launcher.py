"""Processes that torchrun, srun, mpirun or jsrun has started: they come together and train in the first one's run folder."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config import RunConfig
from threefusion.config.sections import TrainerConfig
from threefusion.errors import UserError
from threefusion.run.folder import RUN_VARIABLE, latest_checkpoint, new_run, reopen
from threefusion.run.stages import keep_earlier

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""),
    "jsrun": ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_SIZE"),
    "mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    "mpiexec": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}
"""Environment variables with the rank, the number of processes, the rank on this machine and the number there, by program."""
FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""Job steps from here on are SLURM's own: the batch script and the shell of an interactive allocation."""
OF_GLOO = ("gloo", "Gloo", "pair closure", "closed by peer")
"""Words by which errors of gloo are known that torch raises as plain RuntimeErrors."""
REFUSED = ""
"""Broadcast in place of a run folder when the first process could not open one."""


@dataclass(frozen=True)
class Launch:
    """The processes of a job, of which this is one; `here` of them are on this machine, as on every other."""

    program: str
    node: int
    local_rank: int
    here: int
    world: int

    @property
    def rank(self) -> int:
        """Number of this process in the job."""
        return self.node * self.here + self.local_rank


@cache
def current_launch() -> Launch | None:
    """The launch that this process belongs to, as its environment was at the first call; None if it is alone."""
    return find_launch(os.environ)


def find_launch(environment: Mapping[str, str]) -> Launch | None:
    """The launch that the environment describes; None for a single process and for those that Lightning has started.

    Raises:
        UserError: the machines have different numbers of processes.
    """
    if RUN_VARIABLE in environment:
        return None
    for program, (rank, world, local_rank, here) in VARIABLES.items():
        if rank not in environment or world not in environment or (program == "srun" and not is_srun(environment)):
            continue
        count = int(environment[world])
        if count == 1 and program != "torchrun":  # a single task may start processes itself; torchrun's may not
            return None
        nodes = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", 1))) if program == "srun" else 1
        if count % nodes:
            raise UserError(f"{program}: {count} processes on {nodes} machines; every machine needs the same number")
        local = int(environment.get(here, count // nodes))
        number = int(environment[rank])
        return Launch(program, number // local, int(environment.get(local_rank, number % local)), local, count)
    return None


def is_srun(environment: Mapping[str, str]) -> bool:
    """Whether `srun` has started this process; batch scripts and shells of allocations have most of its variables too."""
    outside = FIRST_SPECIAL_STEP if environment.get("ENVIRONMENT") == "BATCH" else 0
    return int(environment.get("SLURM_STEP_ID", outside)) < FIRST_SPECIAL_STEP


def fitted(trainer: TrainerConfig) -> TrainerConfig:
    """The trainer's settings with the launcher's numbers of devices and machines, where they leave them open.

    Raises:
        UserError: they ask for others, or for several machines without a launcher.
    """
    launch = current_launch()
    if launch is None:
        if trainer.num_nodes > 1 and RUN_VARIABLE not in os.environ:
            raise UserError(f"trainer.num_nodes: start the processes with torchrun --nnodes={trainer.num_nodes} or srun")
        return trainer
    nodes = launch.world // launch.here
    devices = launch.here if trainer.devices in (1, "1", [0], -1, "-1", "auto") else trainer.devices
    asked = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdecimal() else devices.count(",") + 1
    if asked != launch.here or trainer.num_nodes not in (1, nodes):
        raise UserError(
            f"trainer.devices, trainer.num_nodes: {asked} on each of {trainer.num_nodes} machines, but {launch.program} started "
            f"{launch.here} processes on each of {nodes}"
        )
    return replace(trainer, devices=devices, num_nodes=nodes)


@contextmanager
def shared_run(config: RunConfig, out: Path | None, resume: Path | None, again: int | None = None) -> Iterator[Path]:
    """The run folder to train in; under a launcher the first process opens it for all.

    Stage `again` of the resumed run and those after it are to be trained again.

    Raises:
        UserError: it cannot be opened, or the processes do not come together.
    """
    fitted(config.trainer)
    launch = current_launch()
    if launch is None:
        with opened(config, out, resume, again) as run:
            yield run
        leave()
        return
    join(launch, config.trainer.collective_timeout)
    if launch.rank:
        path = broadcast("")
        if path == REFUSED:  # the first process has said why
            sys.exit(2)
        os.environ[RUN_VARIABLE] = path
        yield Path(path)
    else:
        announced = False
        try:
            with opened(config, out, resume, again) as run:
                announced = bool(broadcast(str(run.absolute())))
                yield run
        finally:
            if not announced:
                broadcast(REFUSED)
    leave()


def opened(config: RunConfig, out: Path | None, resume: Path | None, again: int | None = None) -> AbstractContextManager[Path]:
    """A new run, the one to resume, or that of `out` if the launcher has restarted the job.

    A restarted job goes on with the stages that it trains again.

    Raises:
        UserError: the job was restarted, and nothing says which run is its own.
    """
    restarted = any(int(os.environ.get(f"{name}_RESTART_COUNT", 0)) for name in ("TORCHELASTIC", "SLURM"))
    if resume is None and restarted:
        if out is None:
            raise UserError("the launcher has restarted this job: give --out, so that the same run goes on")
        resume = out if out.is_dir() and latest_checkpoint(out) else None
    if resume is None:
        return new_run(config, out)
    reopen(resume)
    if again is not None and not restarted and RUN_VARIABLE not in os.environ:
        keep_earlier(resume, config, again)
    return nullcontext(resume)


def join(launch: Launch, seconds: int) -> None:
    """Create the process group, which Lightning then uses.

    Raises:
        UserError: the launcher names no address, or not all processes come in time.
    """
    from torch.distributed import init_process_group

    if launch.program == "srun":
        from lightning_fabric.plugins.environments import SLURMEnvironment

        nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_NODELIST", "127.0.0.1"))
        step = int(os.environ.get("SLURM_JOB_ID", 0)) + int(os.environ.get("SLURM_STEP_ID", 0))
        os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
        os.environ.setdefault("MASTER_PORT", str(15000 + step % 10000))
    if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise UserError(f"{launch.program} started {launch.world} processes: set MASTER_ADDR and MASTER_PORT, or use torchrun")
    numbers = {"RANK": launch.rank, "WORLD_SIZE": launch.world, "LOCAL_RANK": launch.local_rank, "NODE_RANK": launch.node}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    with friendly_collectives(seconds):
        init_process_group(timeout=timedelta(seconds=seconds))


def leave() -> None:
    """End the process group with its threads: one that frees a tensor while the interpreter ends aborts the process.

    Lightning's trainer refers to the group, in cycles that only the garbage collector resolves.
    """
    from torch.distributed import destroy_process_group, is_initialized

    if is_initialized():
        destroy_process_group()
        gc.collect()


@contextmanager
def together(trainer: Trainer) -> Iterator[None]:
    """After an error, the processes that Lightning has started end too, also those that are stopped.

    Raises:
        UserError: another process does not answer or has ended.
    """
    with friendly_collectives(int(trainer.strategy._timeout.total_seconds())):
        try:
            yield
        except BaseException:
            if trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGKILL)
            raise


def broadcast(text: str) -> str:
    """The first process's text, in every process."""
    import torch

    data = torch.zeros(4096, dtype=torch.uint8)
    data[: len(text.encode())] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    torch.distributed.broadcast(data, 0)
    return bytes(data.tolist()).rstrip(b"\0").decode()


@contextmanager
def friendly_collectives(seconds: int) -> Iterator[None]:
    """Turn the failure of an operation of several processes into a `UserError` with its reason.

    Raises:
        UserError: another process has not answered within the time limit, or has ended.
    """
    from torch.distributed import DistError

    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, DistError) and not any(words in text for words in OF_GLOO):
            raise
        late = "timed out" in text.lower() or "timeout" in text.lower()
        reason = f"has not answered for {seconds} s (trainer.collective_timeout)" if late else "has ended"
        raise UserError(f"another process of this job {reason}; checkpoints that were saved remain") from error
