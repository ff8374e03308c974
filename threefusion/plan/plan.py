"""The most memory that a run will take, stage by stage, found by a dry run before it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch

from threefusion.config import RunConfig
from threefusion.plan.dry_run import DryRun
from threefusion.plan.missing import missing_model, missing_networks, missing_note, with_stand_in
from threefusion.plan.network import NO_NETWORKS, NetworkMemory
from threefusion.plan.stages import Stage, stages
from threefusion.plan.step_memory import StepMemory
from threefusion.system.build import build_system, trainer_settings
from threefusion.system.scene import build_scene
from threefusion.system.text_to_3d import TextTo3D

_MANY = 2**18
"""Samples of a step beyond which a processor takes long."""


@dataclass(frozen=True)
class StageMemory:
    """A stage, the tensors of one of its steps, and those of the networks where they were counted apart."""

    stage: Stage
    step: StepMemory
    networks: NetworkMemory = NO_NETWORKS


@dataclass(frozen=True)
class Plan:
    """Predicted bytes: of tensors, and on a processor of the program that holds them."""

    device: str
    parameters: int
    """Of the scene, what it remembers (an occupancy grid) included."""
    gradients: int
    optimizer: int
    """The optimiser's moments."""
    prior: int | None
    """Weights of the frozen networks; None where they are not known."""
    program: int | None
    """Resident memory of the interpreter and its libraries; None on an accelerator, and where the system does not say."""
    stages: tuple[StageMemory, ...]
    pictures: int
    """The most that is made for a preview or a frame of the turntable."""
    free: int | None
    """What there is for all of this."""
    notes: tuple[str, ...]
    """What is not in these numbers."""

    def peak_of(self, stage: StageMemory) -> int:
        """The most bytes of tensors alive in a stage; a step's gradients stay until the backward pass of the next."""
        step, networks = stage.step, stage.networks
        guidance = max(step.guidance, step.kept + networks.guidance)
        backward = max(step.backward, step.kept + networks.backward)
        return self._always + max(self.gradients + step.render, self.gradients + guidance, backward)

    @property
    def peak(self) -> int:
        """The most at any time."""
        pictures = self._always + self.gradients + self.pictures
        return max(pictures, *map(self.peak_of, self.stages)) + (self.program or 0)

    @property
    def _always(self) -> int:
        return self.parameters + self.optimizer + (self.prior or 0)


def predict(config: RunConfig) -> Plan:
    """The plan of a run that has not begun. A model that is not on this machine is not fetched but told by its shape.

    Raises:
        UserError: a stage does not fit into the memory; or the config names a model that does not exist.
    """
    steps = range(max(trainer_settings(config)["max_steps"], 1))
    if missing_model(config) is None:
        return predict_with(build_system(config), steps, _MANY)
    plan = predict_with(build_system(with_stand_in(config)), steps, _MANY)
    calls = {(stage.stage.work.views, stage.step.network_inputs) for stage in plan.stages}
    networks = {call: missing_networks(config, *call) for call in calls}
    planned = [
        replace(stage, networks=networks[stage.stage.work.views, stage.step.network_inputs] or NO_NETWORKS)
        for stage in plan.stages
    ]
    weights = next((known.weights for known in networks.values() if known), None)
    notes = (missing_note(config), *plan.notes)
    # what a processor's program takes and has left says nothing about the machine on which such a model will run
    return replace(plan, stages=tuple(planned), prior=weights, program=None, free=None, notes=notes)


def predict_with(system: TextTo3D, steps: range, most_samples: int) -> Plan:
    """The plan of the steps of a system; its scene and all random numbers stay as they are, its prior is used.

    On a processor, steps of more than `most_samples` samples are told by small ones.

    Raises:
        UserError: a stage does not fit into the memory.
    """
    config = system.config
    trainer = bare_trainer(config)
    device = trainer.strategy.root_device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        copy = TextTo3D(config, build_scene(config), system.prompt, system.guidance)
        copy = trainer.precision_plugin.convert_module(copy.to(device).train())
        program = program_bytes(system) if device.type != "cuda" else None
        dry = DryRun(copy, device, trainer.precision_plugin.forward_context, most_samples)
        found = stages(copy, max(copy.camera.batch_size // trainer.world_size, 1), steps)
        measured = {}
        for stage in found:
            if stage.work not in measured:
                measured[stage.work] = dry.step(stage)
        pictures = dry.picture(max(config.output.image_size, config.output.turntable_size if config.exporter else 0))
    return Plan(
        device=str(device),
        **dry.scene_bytes(),
        prior=system.guidance.prior.weight_bytes(),
        program=program,
        stages=tuple(StageMemory(stage, measured[stage.work]) for stage in found),
        pictures=pictures,
        free=free_bytes(device),
        notes=("the text encoder before the training and the export after it are not counted",),
    )


def bare_trainer(config: RunConfig) -> pl.Trainer:
    """A trainer that decides about device, precision and processes as the run's own would, and leaves nothing behind."""
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return pl.Trainer(**(trainer_settings(config) | {"max_epochs": -1} | silent))


def program_bytes(system: TextTo3D) -> int | None:
    """Resident memory of this process without the tensors of the system, its scene there twice; None where it is not said."""
    resident = resident_bytes()
    scene = sum(tensor.nbytes for tensor in system.renderer.state_dict().values())
    return None if resident is None else max(resident - 2 * scene - system.guidance.prior.weight_bytes(), 0)


def resident_bytes() -> int | None:
    """Resident memory of this process, on Linux."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else None


def free_bytes(device: torch.device) -> int | None:
    """What is left on the device for this process, what it has already included; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    information = Path("/proc/meminfo")
    if device.type != "cpu" or not information.exists():
        return None
    lines = dict(line.split(":") for line in information.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 + (resident_bytes() or 0)
