"""Train a run from its config or its newest checkpoint."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.config import RunConfig, config_to_yaml
from threefusion.errors import UserError
from threefusion.run.folder import RUN_VARIABLE, checkpoint_step, latest_checkpoint

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import Logger

    from threefusion.callback.spent import Spent
    from threefusion.system.text_to_3d import TextTo3D


def quiet() -> None:
    """Silence what libraries say about things that are decided here on purpose."""
    import logging

    # Lightning sets its own levels when it is imported, so it has to come first.
    import pytorch_lightning  # noqa: F401

    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero", "diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in (
        ".*does not have many workers.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*Checkpoint directory.*",
        ".*TypedStorage.*",
    ):
        warnings.filterwarnings("ignore", text)


def build_system(config: RunConfig) -> TextTo3D:
    """The whole system. The text encoder is loaded, used and freed before the network of the prior is loaded."""
    from threefusion.registry import build, settings
    from threefusion.system.scene import build_scene
    from threefusion.system.text_to_3d import TextTo3D

    prior = build(settings(config.guidance).prior)
    prompt = build(config.prompt, prior.text_encoder())
    prior.load()
    return TextTo3D(config, build_scene(config), prompt, build(config.guidance, prior))


def train(config: RunConfig, run: Path) -> int:
    """Train in the folder `run` from its newest checkpoint if it has one, then export. Returns the exit code.

    Interrupted (Ctrl-C), it saves, says how to go on, and returns 130.
    """
    quiet()
    from threefusion.callback.snapshot import Interrupt
    from threefusion.callback.spent import Spent
    from threefusion.ops.backend import choose_backend
    from threefusion.run.announce import announce
    from threefusion.run.checkpoint import read_checkpoint
    from threefusion.run.results import finish
    from threefusion.run.settings import KeepSettings
    from threefusion.run.threads import training_threads

    choose_backend(config.ops.backend)
    checkpoint = latest_checkpoint(run)
    if checkpoint is not None:
        read_checkpoint(checkpoint)  # Lightning reads it again, and would not say what is wrong with which file
    system = build_system(config)
    interrupt = Interrupt()
    first = checkpoint_step(checkpoint)
    spent = Spent()
    trainer = make_trainer(config, run, [KeepSettings(run, config), interrupt, spent], first)
    if trainer.is_global_zero:
        announce(system, range(first, trainer.max_steps))
    spent.count(system.guidance.prior)
    with followed(trainer.loggers, run):
        with announced(run), explained(), training_threads(small_steps(system)):
            trainer.fit(system, ckpt_path=checkpoint, weights_only=True)
        if not trainer.is_global_zero:
            return 0
        if interrupt.requested and trainer.global_step < trainer.max_steps:
            print(f"stopped at step {trainer.global_step}. Go on with: python launch.py train --resume {run}", file=sys.stderr)
            return 130
        device = trainer.strategy.root_device
        report = cost(system, spent, trainer.global_step, first, device)
        print(speed(report))
        if device.type != "cpu":
            # Lightning has put the scene back into main memory, where kernels for the device do not run
            choose_backend("auto")
        finish(run, config, system, report)
    return 0


def small_steps(system: TextTo3D) -> bool:
    """Whether the steps are so small that one thread is enough."""
    import torch

    from threefusion.run.threads import is_small

    views = system.camera.batch_size
    camera = system.camera.sample(0, system.config.seed, torch.arange(views)).camera
    return is_small(views * camera.height * camera.width, system.guidance.prior.largest_layer(views))


@contextmanager
def followed(loggers: list[Logger], run: Path) -> Iterator[None]:
    """After the block, loggers that take videos get the run's, and W&B has written everything it was given.

    Left to itself, W&B ends a run when the interpreter exits, and what it still holds may be lost on a busy machine.
    """
    try:
        yield
    finally:
        video = run / "turntable.mp4"
        for logger in loggers:
            if hasattr(logger, "log_video"):
                if video.exists():
                    logger.log_video("turntable", [str(video)])
                logger.experiment.finish(exit_code=int(sys.exc_info()[0] is not None))


@contextmanager
def announced(run: Path) -> Iterator[None]:
    """While the block runs, processes that Lightning starts find the run's folder in their environment."""
    before = os.environ.get(RUN_VARIABLE)
    os.environ[RUN_VARIABLE] = str(run)
    try:
        yield
    finally:
        if before is None:
            del os.environ[RUN_VARIABLE]


@contextmanager
def explained() -> Iterator[None]:
    """A block in which memory that runs out, where nothing can be done about it, is an error in one line.

    Raises:
        UserError: memory ran out.
    """
    from threefusion.machine.memory import is_out_of_memory
    from threefusion.system.second_attempt import LOWER

    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory: {next(iter(str(error).splitlines()), 'MemoryError')}. {LOWER}") from error


def trainer_settings(config: RunConfig) -> dict[str, Any]:
    """`trainer.*` with this project's defaults."""
    settings = {"accelerator": "auto", "devices": 1, "max_steps": 10000, "log_every_n_steps": 10, **config.trainer}
    if settings["devices"] not in (1, "1", [0]) or settings.get("num_nodes", 1) > 1:
        # A rank may leave a parameter unused (albedo against lit, rays that all miss): plain DDP would wait for it for ever.
        settings.setdefault("strategy", "ddp_find_unused_parameters_true")
    return settings


def make_trainer(config: RunConfig, run: Path, more: list[pl.Callback], resumed_step: int) -> pl.Trainer:
    """Lightning's trainer with this project's callbacks and `more`; `trainer.*` of the config goes through as it is.

    Raises:
        UserError: Lightning refuses it.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from threefusion.callback.images import Previews
    from threefusion.callback.metrics import CsvMetrics
    from threefusion.callback.progress import ProgressLine
    from threefusion.callback.snapshot import Snapshot

    output = config.output
    callbacks = [
        Previews(run, output.image_interval, output.image_size),
        ProgressLine(),
        *more,
        Snapshot(run, output.checkpoint_interval, output.keep_checkpoints),
    ]
    loggers = [CsvMetrics(run / "metrics.csv", resumed_step), *extra_loggers(config, run)]
    try:
        return pl.Trainer(
            **trainer_settings(config),
            max_epochs=-1,
            callbacks=callbacks,
            logger=loggers,
            default_root_dir=run,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error


def extra_loggers(config: RunConfig, run: Path) -> list[Any]:
    """The logger that the config names beside metrics.csv, if any."""
    from threefusion.machine.optional import require

    options = dict(config.logger)
    kind = options.pop("type")
    if kind == "csv":
        return []
    if kind == "tensorboard":
        from pytorch_lightning.loggers import TensorBoardLogger

        return [TensorBoardLogger(run, name=options.get("name", "tensorboard"), version="")]
    require("wandb")
    from pytorch_lightning.loggers import WandbLogger

    os.environ.setdefault("WANDB_SILENT", "true")
    folder = options.pop("dir", run)
    logger = WandbLogger(save_dir=folder, **({"name": run.name} | options))
    logger.log_hyperparams({"config": config_to_yaml(config)})
    return [logger]


def speed(report: dict[str, Any]) -> str:
    """Steps, seconds, iterations per second and where a step's time went, in one line."""
    from threefusion.system.phases import as_text

    rate = f"{report['steps']} steps in {report['seconds']:.1f} s, {report['iterations_per_second']:.3g} iterations/s"
    phases = report["phase_milliseconds_per_step"]
    return f"{rate}; a step: {as_text(phases)}" if phases else rate


def peak_memory() -> int | None:
    """Most bytes that this process has held; None where the system does not count them."""
    try:
        import resource
    except ImportError:
        return None
    # Linux counts kibibytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cost(system: TextTo3D, spent: Spent, last: int, first: int, device: torch.device) -> dict[str, Any]:
    """What a training on `device` cost, over all its parts if it was resumed; phases and memory are those of the last part.

    Network calls of other processes are taken to have been as many as this process made.
    """
    import torch

    from threefusion.system.phases import per_step

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        memory = torch.cuda.max_memory_allocated(device)
    else:
        memory = peak_memory()
    processes = system.trainer.world_size
    seconds = spent.earlier + spent.part
    phases = system.clock.seconds(spent.part)
    return {
        "steps": last,
        "seconds": round(seconds, 2),
        "iterations_per_second": round(last / max(seconds, 1e-9), 3),
        "phase_seconds": {name: round(value, 2) for name, value in phases.items()},
        "phase_milliseconds_per_step": {name: round(value, 2) for name, value in per_step(phases, last - first).items()},
        "peak_memory_bytes": memory,
        "network_calls": spent.calls * processes,
        "network_images": spent.images * processes,
    }
