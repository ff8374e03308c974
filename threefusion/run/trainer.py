"""Lightning's trainer for a run, its loggers, and the contexts a training runs in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from threefusion.callback.images import Previews
from threefusion.callback.metrics import CsvMetrics
from threefusion.callback.snapshot import CheckpointFiles, Snapshot
from threefusion.callback.watchdog import Watchdog
from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.machine.memory import is_out_of_memory
from threefusion.run.launcher import fitted
from threefusion.system.retry import OOM_ADVICE


def silence_libraries() -> None:
    """Turn off the logs and warnings of libraries about choices that are made here on purpose."""
    # Lightning sets its own log levels when it is imported, which the import above has done
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero", "diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in (
        ".*does not have many workers.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*Checkpoint directory.*",
        ".*TypedStorage.*",
    ):
        warnings.filterwarnings("ignore", text)


def make_trainer(
    config: RunConfig,
    run: Path,
    more: list[pl.Callback],
    resumed_step: int,
    digest: int | None = None,
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """Lightning's trainer with this project's callbacks and `more`, which logs to metrics.csv and `loggers`.

    Raises:
        UserError: Lightning refuses it.
    """
    output = config.output
    callbacks = [
        Previews(run, output.image_interval, output.image_size),
        Watchdog(),
        *more,
        Snapshot(run, output.checkpoint_interval, output.keep_checkpoints),
    ]
    arguments = fitted(config.trainer).arguments()
    try:
        trainer = pl.Trainer(
            **arguments,
            max_epochs=-1,
            callbacks=callbacks,
            logger=[CsvMetrics(run / "metrics.csv", resumed_step, digest), *loggers],
            default_root_dir=run,
            # not the environment that Lightning detects: variables of SLURM are no sign of srun
            plugins=[CheckpointFiles(), *([] if config.trainer.accelerator == "tpu" else [LightningEnvironment()])],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    trainer.strategy._timeout = timedelta(seconds=config.trainer.collective_timeout)
    return trainer


@contextmanager
def friendly_oom() -> Iterator[None]:
    """Turn an out-of-memory error into a `UserError` that says what to lower.

    Raises:
        UserError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory: {next(iter(str(error).splitlines()), 'MemoryError')}. {OOM_ADVICE}") from error
