"""The stages of a run: stretches of steps that ask for the same work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from threefusion.config import Choice, RunConfig
from threefusion.schedule import Schedule
from threefusion.types import ViewBatch

if TYPE_CHECKING:
    from threefusion.system.text_to_3d import TextTo3D

_DRAWN = 256
"""Views drawn to see what a stage may contain."""


@dataclass(frozen=True)
class Work:
    """What decides about the memory of a step."""

    views: int
    """Of one process and one micro-batch."""
    height: int
    width: int
    losses: tuple[str, ...]
    """Those with a weight other than 0."""
    normals: tuple[str, ...]
    """Who wants them: losses by name, `shading` for lit views."""
    guidance: tuple[float | None, ...]
    """The guidance's schedules where they are 0 or 1, at which methods leave something out."""


@dataclass(frozen=True)
class Stage:
    """Steps `first` to `last`, both included."""

    first: int
    last: int
    work: Work


def stages(system: TextTo3D, views: int, steps: range) -> list[Stage]:
    """The stages of the steps, in order; neighbours differ in their work.

    Schedules are looked at next to their knots: in between they are linear, so they are 0 or 1 only at a knot or all the way.
    """
    found: list[Stage] = []
    begins = [step for step in sorted(set(turning_points(system.config))) if step in steps]
    for first, after in zip([steps.start, *begins], [*begins, steps.stop], strict=True):
        if first == after:
            continue
        work = work_at(system, views, first)
        if found and found[-1].work == work:
            found[-1] = replace(found[-1], last=after - 1)
        else:
            found.append(Stage(first, after - 1, work))
    return found


def work_at(system: TextTo3D, views: int, step: int) -> Work:
    """What a step asks for; what is drawn at random counts as asked for if it may be drawn."""
    drawn = system.camera.sample(step, system.config.seed, torch.arange(_DRAWN))
    losses = {name: term for name, (term, _) in system.active_losses(step).items()}
    normals = [name for name, term in losses.items() if term.needs_normal]
    if system.renderer.material.needs_normal(drawn.shading):
        normals.append("shading")
    values = [schedule(step) for schedule in schedules(system.config.guidance)]
    branches = tuple(value if value in (0, 1) else None for value in values)
    return Work(views, drawn.camera.height, drawn.camera.width, tuple(losses), tuple(normals), branches)


def largest_batch(system: TextTo3D, stage: Stage) -> ViewBatch:
    """Views of the stage in which the scene is seen largest, among many drawn; one is shaded in the way that costs most."""
    seed = system.config.seed
    drawn = system.camera.sample(stage.first, seed, torch.arange(_DRAWN))
    extent = drawn.camera.distance * (drawn.camera.fovy / 2).tan()
    batch = system.camera.sample(stage.first, seed, extent.argsort()[: stage.work.views])
    costly = [way for way in drawn.shading.unique() if system.renderer.material.needs_normal(way[None])]
    if costly:
        batch = replace(batch, shading=torch.cat([costly[0][None], batch.shading[1:]]))
    return batch


def turning_points(config: RunConfig) -> Iterator[int]:
    """Steps at which the work may change: those at and next to knots, and those that a camera sampler's `…_steps` name."""
    for schedule in schedules((config.camera, config.geometry, config.guidance, *config.losses.values())):
        for knot, _ in schedule.knots:
            yield from (knot, knot + 1)
    yield from (value for name, value in config.camera.settings if name.endswith("_steps") and isinstance(value, int))


def schedules(value: Any) -> Iterator[Schedule]:
    """Every schedule in a component's settings, those of nested components included."""
    if isinstance(value, Schedule):
        yield value
    elif isinstance(value, Choice):
        yield from schedules([setting for _, setting in value.settings])
    elif isinstance(value, Iterable) and not isinstance(value, str | dict):
        for part in value:
            yield from schedules(part)
