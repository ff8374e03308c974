"""Train a run from its config or its newest checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.config import RunConfig
from threefusion.run.folder import checkpoint_step, latest_checkpoint

if TYPE_CHECKING:
    import torch

    from threefusion.callback.run_cost import RunCost
    from threefusion.system.text_to_3d import TextTo3D


def train(config: RunConfig, run: Path) -> int:
    """Train in the folder `run` from its newest checkpoint if it has one, then export. Returns the exit code.

    Interrupted (Ctrl-C), it saves, says how to go on, and returns 130.
    """
    from threefusion.callback.run_cost import RunCost
    from threefusion.callback.snapshot import Interrupt
    from threefusion.ops.backend import choose_backend
    from threefusion.run.checkpoint import read_checkpoint
    from threefusion.run.keep_settings import KeepSettings
    from threefusion.run.results import finish
    from threefusion.run.threads import training_threads
    from threefusion.run.trainer import finalize_loggers, friendly_oom, make_trainer, run_folder_in_environment, silence_libraries
    from threefusion.system.build import build_system

    silence_libraries()
    choose_backend(config.ops.backend)
    checkpoint = latest_checkpoint(run)
    if checkpoint is not None:
        read_checkpoint(checkpoint)  # Lightning reads it again, and would not say what is wrong with which file
    system = build_system(config)
    interrupt = Interrupt()
    first = checkpoint_step(checkpoint)
    run_cost = RunCost()
    trainer = make_trainer(config, run, [KeepSettings(run, config), interrupt, run_cost], first)
    with finalize_loggers(trainer.loggers, run):
        with run_folder_in_environment(run), friendly_oom(), training_threads(small_steps(system)):
            trainer.fit(system, ckpt_path=checkpoint, weights_only=True)
        if not trainer.is_global_zero:
            return 0
        if interrupt.requested and trainer.global_step < trainer.max_steps:
            print(f"stopped at step {trainer.global_step}. Resume with: python launch.py train --resume {run}", file=sys.stderr)
            return 130
        device = trainer.strategy.root_device
        report = cost(system, run_cost, trainer.global_step, first, device)
        print(speed(report))
        # Lightning has put the scene back into main memory; what follows is rendered where it was trained
        system.scene.to(device)
        system.renderer.to(device)
        finish(run, config, system, report)
    return 0


def small_steps(system: TextTo3D) -> bool:
    """Whether the steps are so small that one thread is enough."""
    import torch

    from threefusion.run.threads import is_small

    views = system.camera.batch_size
    camera = system.camera.sample(0, system.config.seed, torch.arange(views)).camera
    return is_small(views * camera.height * camera.width, max((prior.largest_layer(views) for prior in system.priors), default=0))


def speed(report: dict[str, Any]) -> str:
    """Steps, seconds, iterations per second and where a step's time went, in one line."""
    from threefusion.system.phases import as_text

    rate = f"{report['steps']} steps in {report['seconds']:.1f} s, {report['iterations_per_second']:.3g} iterations/s"
    phases = report["phase_milliseconds_per_step"]
    return f"{rate}; a step: {as_text(phases)}" if phases else rate


def cost(system: TextTo3D, run_cost: RunCost, last: int, first: int, device: torch.device) -> dict[str, Any]:
    """What a training on `device` cost, over all its parts if it was resumed; phases and memory are those of the last part.

    Network calls of other processes are taken to have been as many as this process made.
    """
    import torch

    from threefusion.machine.memory import peak_resident_bytes
    from threefusion.system.phases import per_step

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        memory = torch.cuda.max_memory_allocated(device)
    else:
        memory = peak_resident_bytes()
    processes = system.trainer.world_size
    total = run_cost.total
    seconds = total["seconds"]
    phases = system.clock.seconds(run_cost.part)
    return {
        "steps": last,
        "seconds": round(seconds, 2),
        "iterations_per_second": round(last / max(seconds, 1e-9), 3),
        "phase_seconds": {name: round(value, 2) for name, value in phases.items()},
        "phase_milliseconds_per_step": {name: round(value, 2) for name, value in per_step(phases, last - first).items()},
        "peak_memory_bytes": memory,
        "network_calls": total["calls"] * processes,
        "network_images": total["images"] * processes,
    }
