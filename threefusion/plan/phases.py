"""The phases of a run: ranges of steps that need the same memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from threefusion.config import RunConfig, Schedule, Settings
from threefusion.system.text_to_3d import TextTo3D, active
from threefusion.types import ViewBatch

_DRAWN = 256
"""Views drawn to find out what a phase may contain."""


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `last`, both included, and what determines the memory of each."""

    first: int
    last: int
    views: int
    """Of one process and one micro-batch."""
    height: int
    width: int
    losses: tuple[str, ...]
    """Those with a weight other than 0."""
    normals: tuple[str, ...]
    """What needs normals: losses by name, `shading` for lit views."""
    guidance: tuple[float | None, ...]
    """Values of the guidance's schedules where they are 0 or 1, at which a method may skip a prediction."""


def phases(system: TextTo3D, views: int, steps: range) -> list[Phase]:
    """The phases of the steps, in order; neighbours differ in their work.

    Schedules are evaluated at and next to their knots: they are linear in between, so 0 or 1 only at a knot or throughout.
    """
    merged: list[Phase] = []
    starts = sorted({steps.start, *(step for step in change_points(system.config) if step in steps)})
    for first, after in zip(starts, [*starts[1:], steps.stop], strict=True):
        phase = phase_at(system, views, first)
        if merged and replace(phase, first=0, last=0) == replace(merged[-1], first=0, last=0):
            phase = replace(phase, first=merged.pop().first)
        merged.append(replace(phase, last=after - 1))
    return merged


def phase_at(system: TextTo3D, views: int, step: int) -> Phase:
    """The phase of a single step; whatever may be drawn at random counts as drawn."""
    drawn = system.camera.sample(step, system.config.seed, torch.arange(_DRAWN))
    losses = {name: term for name, (term, _) in active(system.losses, step).items()}
    normals = [name for name, term in losses.items() if term.wants.normals]
    if system.scene.material.needs_normal(drawn.shading):
        normals.append("shading")
    values = [schedule(step) for schedule in schedules(system.config.guidance)]
    branches = tuple(value if value in (0, 1) else None for value in values)
    return Phase(step, step, views, drawn.camera.height, drawn.camera.width, tuple(losses), tuple(normals), branches)


def largest_batch(system: TextTo3D, phase: Phase) -> ViewBatch:
    """Of many views of the phase those that show the scene largest; one has the most expensive shading."""
    seed = system.config.seed
    drawn = system.camera.sample(phase.first, seed, torch.arange(_DRAWN))
    extent = drawn.camera.distance * (drawn.camera.fovy / 2).tan()
    batch = system.camera.sample(phase.first, seed, extent.argsort()[: phase.views])
    costly = [way for way in drawn.shading.unique() if system.scene.material.needs_normal(way[None])]
    if costly:
        batch = replace(batch, shading=torch.cat([costly[0][None], batch.shading[1:]]))
    return batch


def change_points(config: RunConfig) -> Iterator[int]:
    """Steps at which the work may change: at and after knots, and those that a camera sampler's `…_steps` names."""
    for schedule in schedules((config.camera, config.geometry, config.guidance, *config.losses.values())):
        for knot, _ in schedule.knots:
            yield from (knot, knot + 1)
    yield from (value for name, value in vars(config.camera).items() if name.endswith("_steps") and isinstance(value, int))


def schedules(value: Any) -> Iterator[Schedule]:
    """Every schedule in a component's settings, nested components included."""
    if isinstance(value, Schedule):
        yield value
    elif isinstance(value, Settings):
        yield from schedules(vars(value))
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from schedules(part)
