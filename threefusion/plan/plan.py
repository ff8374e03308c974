"""The memory of a run, measured: one training step per stage, then everything that follows a training."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch

from threefusion.config import RunConfig
from threefusion.config.sections import CsvConfig, WandbConfig
from threefusion.geometry.geometry import HasDensity
from threefusion.machine.memory import free_bytes, peak_bytes, peak_resident_bytes
from threefusion.ops.backend import choose_backend
from threefusion.optimizer.optimizer import state_tensors
from threefusion.plan.filled import Filled
from threefusion.plan.missing import has_critic, missing_note, missing_priors, missing_weights, with_stand_ins
from threefusion.plan.worst_step import needs_normals, worst_step
from threefusion.registry import build
from threefusion.run.folder import make_stage_folder, stage_folders
from threefusion.run.results import finish
from threefusion.run.source import starting_scene
from threefusion.run.trainer import friendly_oom, make_trainer
from threefusion.system.build import build_system
from threefusion.system.start import Source
from threefusion.system.text_to_3d import TextTo3D
from threefusion.types import Scene


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one stage, or of a run without stages."""

    name: str
    step: int
    """The training step that was measured."""
    views: int
    """Of one process and one micro-batch."""
    height: int
    width: int
    normals: bool
    parameters: int
    """Of the scene, buffers such as an occupancy grid included."""
    critics: int
    """Of what objectives train themselves, such as a critic."""
    optimizer: int
    prior: int | None
    """Weights of the frozen networks of all objectives; None where some are unknown."""
    peak: int | None
    """The most held on the device by the end of this stage's training, missing networks left out."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Measured bytes of a whole run."""

    device: str
    stages: tuple[StageMemory, ...]
    peak: int | None
    """The most held on the device, by what follows the training too; on a CPU that is the process with all libraries."""
    resident: int | None
    """The most that the process held in main memory; None where the system does not count it."""
    free: int | None
    """What is available on the device; None where that is unknown, or a model is missing that will run elsewhere."""


class WithMoments(pl.Callback):
    """Allocates the optimiser's moments before the first step, as they are from the second step on."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A step with gradients of 0."""
        (optimizer,) = trainer.optimizers
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()


def measure(config: RunConfig, folder: Path) -> Plan:
    """Train each stage for its largest step in the empty `folder`, and make everything that follows a training.

    A model that is not on this machine is not downloaded: its weights are counted, its networks are not run.

    Raises:
        UserError: it does not fit into memory; or the config names a model that does not exist.
    """
    choose_backend(config.ops.backend)
    stages: list[StageMemory] = []
    scene = before = None
    for stage, stage_folder in zip(config.parts, stage_folders(folder, config), strict=True):
        system = source = None  # the networks of the stage before are freed
        if before is not None:
            if before.geometry != stage.geometry:
                fill(scene)  # what another geometry is converted from needs a surface
            # a renderer without history: an occupancy grid would be that of the scene as it was
            source = Source(scene, build(before.renderer), f"stage {before.name}")
        memory, system = measure_stage(stage, stage_folder, source)
        stages, scene, before = [*stages, memory], system.scene, stage
    device = system.trainer.strategy.root_device
    if fill(scene):
        system.renderer = build(config.parts[-1].renderer)  # the old one's occupancy grid is that of the scene
    system.renderer.to(device)
    scene.to(device)
    # silent: reports and warnings would be about the ball
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), friendly_oom():
        finish(folder, shortened(config), system, {})
    missing = max(sum(missing_weights(prior) or 0 for prior in missing_priors(stage)) for stage in config.parts)
    peak = peak_bytes(device)
    return Plan(
        device=str(device),
        stages=tuple(stages),
        peak=None if peak is None else peak + missing,
        resident=peak_resident_bytes(),
        free=None if any(stage.notes for stage in stages) else free_bytes(device),
    )


def fill(scene: Scene) -> bool:
    """Give the scene the density of a ball; false for geometries without density, which have a surface from the start."""
    if isinstance(scene.geometry, HasDensity):
        scene.geometry = Filled(scene.geometry)
        return True
    return False


def measure_stage(config: RunConfig, folder: Path, previous: Source | None) -> tuple[StageMemory, TextTo3D]:
    """One training step of a stage, with the checkpoint and the preview that follow it; the trained system."""
    missing = missing_priors(config)
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    processes = pl.Trainer(**config.trainer.arguments(), **silent).world_size
    system = build_system(with_stand_ins(shortened(config), missing), starting_scene(config, previous))
    camera = system.camera
    camera.batch_size = max(camera.batch_size // processes, camera.group_size)
    step = worst_step(system, range(config.trainer.max_steps if config.trainer.max_steps > 0 else 1))
    if config.facing.steps:
        system.config = replace(system.config, facing=replace(config.facing, steps=(step,)))
    system.batches_seen = step * system.config.trainer.accumulate_grad_batches
    make_stage_folder(folder)
    trainer = make_trainer(system.config, folder, [WithMoments()], 0)
    with friendly_oom():
        trainer.fit(system)
    drawn = camera.sample(step, config.seed, torch.arange(camera.batch_size))
    weights = [*(prior.weight_bytes() for prior in system.priors), *map(missing_weights, missing)]
    memory = StageMemory(
        name=config.name,
        step=step,
        views=camera.batch_size,
        height=drawn.camera.height,
        width=drawn.camera.width,
        normals=needs_normals(system, drawn),
        parameters=sum(tensor.nbytes for part in (system.scene, system.renderer) for tensor in part.state_dict().values()),
        critics=sum(value.nbytes for part in system.guidance.values() for value in part.trainable().parameters()),
        optimizer=sum(value.nbytes for value in state_tensors(list(trainer.optimizers[0].state.values()))),
        prior=None if None in weights else sum(weights),
        peak=peak_bytes(trainer.strategy.root_device),
        notes=tuple(missing_note(prior, has_critic(config, prior)) for prior in missing),
    )
    return memory, system


def shortened(config: RunConfig) -> RunConfig:
    """The run with one training step in one process, and one frame of its turntable."""
    trainer = config.trainer
    devices = trainer.devices[:1] if isinstance(trainer.devices, list) else 1
    one = {"devices": devices, "num_nodes": 1, "strategy": None, "max_steps": 1, "min_steps": None, "max_time": None}
    return replace(
        config,
        trainer=replace(trainer, **one, accumulate_grad_batches=min(trainer.accumulate_grad_batches, 2)),
        output=replace(config.output, turntable_frames=1),
        logger=CsvConfig() if isinstance(config.logger, WandbConfig) else config.logger,
    )
