"""The training step that needs the most memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from threefusion.config import Schedule, Settings
from threefusion.guidance.denoiser import is_guided
from threefusion.guidance.guidance import Guidance
from threefusion.guidance.score import ScoreDistillation
from threefusion.system.text_to_3d import TextTo3D, active
from threefusion.types import ViewBatch

TRIED = 256
"""Steps that are compared besides those at which a schedule changes."""


def worst_step(system: TextTo3D, steps: range) -> int:
    """Of steps all over the training the one with the most pixels, normals, predictions and terms, and the closest views.

    Schedules are linear between their knots: whether one is 0 or 1 changes at a knot or next to it.
    """
    changes = {step for schedule in schedules(vars(system.config)) for knot, _ in schedule.knots for step in (knot, knot + 1)}
    spread = steps[:: max(len(steps) // TRIED, 1)]
    return max(sorted({*spread, *changes.intersection(steps)}), key=lambda step: work(system, step))


def work(system: TextTo3D, step: int) -> tuple[int | float, ...]:
    """What the memory of a step depends on, the most important first."""
    views = system.camera.sample(step, system.config.seed, torch.arange(system.camera.batch_size))
    camera = views.camera
    # at 0 or 1 a method may leave a prediction out
    predictions = sum(schedule(step) not in (0, 1) for schedule in schedules(system.config.guidance))
    guided = sum(guided_views(objective, views) for objective, _ in active(system.guidance, step).values())
    terms = len(active(system.guidance, step)) + len(active(system.losses, step))
    closeness = (camera.distance * (camera.fovy / 2).tan()).pow(-2).sum().item()
    return camera.height * camera.width * (2 if needs_normals(system, views) else 1), predictions, guided, terms, closeness


def guided_views(objective: Guidance, views: ViewBatch) -> int:
    """How many of the views have guidance at their times: at others a method leaves predictions out."""
    if not isinstance(objective, ScoreDistillation):
        return len(views)
    guided = is_guided(objective.draw_time(views), objective.interval(views.step))
    return len(views) if guided is None else int(guided.sum())


def needs_normals(system: TextTo3D, views: ViewBatch) -> bool:
    """Whether a training step with these views renders normals."""
    parts = [part for terms in (system.guidance, system.losses) for part, _ in active(terms, views.step).values()]
    return any(part.wants.normals for part in parts) or system.scene.material.needs_normal(views.shading)


def schedules(value: Any) -> Iterator[Schedule]:
    """Every schedule in a component's settings, nested components included."""
    if isinstance(value, Schedule):
        yield value
    elif isinstance(value, Settings):
        yield from schedules(vars(value))
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from schedules(part)
