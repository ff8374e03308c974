"""The memory of a run, from one measured training step per phase of its schedules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from threefusion.camera.orbit import evaluation_orbit
from threefusion.config import RunConfig
from threefusion.machine.memory import free_bytes, peak_resident_bytes, retry_on_oom
from threefusion.ops.backend import choose_backend
from threefusion.plan.meter import metered
from threefusion.plan.missing import missing_note, missing_priors, missing_weights, with_stand_ins
from threefusion.plan.phases import Phase, largest_batch, phases
from threefusion.renderer.views import render_views
from threefusion.system.build import build_system
from threefusion.system.scene import build_scene
from threefusion.system.text_to_3d import TextTo3D
from threefusion.types import Scene


@dataclass(frozen=True)
class PhaseMemory:
    """A phase and the peak bytes of tensors that one of its steps allocates, by part of the step."""

    phase: Phase
    render: int
    guidance: int
    backward: int
    """The optimiser's update included."""

    @property
    def peak(self) -> int:
        """The most at any time of the step."""
        return max(self.render, self.guidance, self.backward)


@dataclass(frozen=True)
class Plan:
    """Measured bytes."""

    device: str
    parameters: int
    """Of the scene, buffers such as an occupancy grid included."""
    gradients: int
    optimizer: int
    prior: int | None
    """Weights of the frozen networks of all objectives; None where some are unknown."""
    phases: tuple[PhaseMemory, ...]
    image: int
    """The peak while a preview or a frame of the turntable is rendered."""
    resident: int | None
    """Peak resident memory of the process that measured; None on an accelerator or where the system does not count it."""
    free: int | None
    """What is available for all of this."""
    notes: tuple[str, ...]

    @property
    def tensors(self) -> int:
        """The most bytes of tensors at any time."""
        always = self.parameters + self.gradients + self.optimizer + (self.prior or 0)
        return always + max(self.image, *(phase.peak for phase in self.phases))

    @property
    def peak(self) -> int:
        """The most bytes at any time."""
        return max(self.tensors, self.resident or 0)


def measure_stages(config: RunConfig) -> dict[str, Plan]:
    """The plan of each stage of a run, by name; of a run without stages that of the run.

    A later stage is built from the untrained scene of the one before.
    """
    plans, previous = {}, None
    for stage in config.parts:
        plans[stage.name] = measure_run(stage, previous)
        previous, _ = build_scene(stage, previous)
    return plans


def measure_run(config: RunConfig, previous: Scene | None = None) -> Plan:
    """Build the run's system and make one step of every phase with the largest views, no part of space known to be empty.

    A model that is not on this machine is not downloaded: its weights are counted, its networks are not run.

    Raises:
        UserError: a step does not fit into memory; or the config names a model that does not exist.
    """
    missing = missing_priors(config)
    choose_backend(config.ops.backend)
    system = build_system(with_stand_ins(config, missing), previous)
    trainer = bare_trainer(config)
    device = trainer.strategy.root_device
    system = trainer.precision_plugin.convert_module(system.to(device).train())
    optimizer = with_moments(system.configure_optimizers())
    steps = range(max(config.trainer.max_steps, 1))
    needed = phases(system, max(system.camera.batch_size // trainer.world_size, 1), steps)
    precision = trainer.precision_plugin.forward_context
    measured = tuple(measure_phase(system, optimizer, phase, device, precision) for phase in needed)
    image = measure_image(system, max(config.output.image_size, config.output.turntable_size if config.exporters else 0), device)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = [value for values in optimizer.state.values() for value in values.values() if torch.is_tensor(value)]
    weights = [*(prior.weight_bytes() for prior in system.priors), *map(missing_weights, missing)]
    return Plan(
        device=str(device),
        parameters=sum(tensor.nbytes for part in (system.scene, system.renderer) for tensor in part.state_dict().values()),
        gradients=sum(parameter.nbytes for parameter in parameters),
        optimizer=sum(value.nbytes for value in state),
        prior=None if None in weights else sum(weights),
        phases=measured,
        image=image,
        # this machine's memory says nothing about the machine on which a missing model will run
        resident=None if missing or device.type != "cpu" else peak_resident_bytes(),
        free=None if missing else free_bytes(device),
        notes=(*map(missing_note, missing), "the export after the training is not counted"),
    )


def bare_trainer(config: RunConfig) -> pl.Trainer:
    """A trainer that chooses device, precision and processes as the run's own does, and writes nothing."""
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return pl.Trainer(**(config.trainer.arguments() | {"max_epochs": -1} | silent))


def with_moments(optimizer: Optimizer) -> Optimizer:
    """The optimiser with its moments allocated, as it is from the second step on."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def measure_phase(
    system: TextTo3D, optimizer: Optimizer, phase: Phase, device: torch.device, precision: Callable[[], AbstractContextManager]
) -> PhaseMemory:
    """One step of a phase; as in a training, chunks are halved when memory runs out.

    Raises:
        UserError: it does not fit into memory however small the chunks.
    """
    batch = largest_batch(system, phase).to(device)

    def step() -> PhaseMemory:
        optimizer.zero_grad()
        laps: list[int] = []
        with metered(device) as meter:
            with system.renderer.register_forward_hook(lambda *_: laps.append(meter.lap())), precision():
                loss, _ = system.compute_loss(batch)
            laps.append(meter.lap())
            loss.backward()
            optimizer.step()
            laps.append(meter.lap())
        optimizer.zero_grad()
        return PhaseMemory(phase, *laps)

    return retry_on_oom(step, system.renderer.reduce_memory)


def measure_image(system: TextTo3D, size: int, device: torch.device) -> int:
    """The peak while one frame of `size` pixels is rendered."""
    frame = evaluation_orbit(system.camera, 1, size).to(device)
    with metered(device) as meter:
        next(render_views(system.renderer, system.scene, frame))
        return meter.lap()
