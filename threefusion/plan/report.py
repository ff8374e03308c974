"""A plan as text and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from threefusion.plan.phases import Phase
from threefusion.plan.plan import Plan


def as_page(plan: Plan, name: str) -> str:
    """For people."""
    scene = f"parameters {size(plan.parameters)}, gradients {size(plan.gradients)}, optimiser {size(plan.optimizer)}"
    lines = [f"{name} on {plan.device}", f"  scene     {scene}", f"  prior     {size(plan.prior)}"]
    for one in plan.phases:
        lines += [
            f"  steps {one.phase.first} to {one.phase.last}: {size(one.peak)}; {described(one.phase)}",
            f"    render {size(one.render)}, guidance {size(one.guidance)}, backward {size(one.backward)}",
        ]
    lines += [f"  images    {size(plan.image)}", f"  tensors   {size(plan.tensors)} at most"]
    if plan.resident is not None:
        lines.append(f"  process   {size(plan.resident)} at most, libraries included")
    if plan.free is not None:
        lines.append(f"  free      {size(plan.free)}{', which is not enough' if plan.peak > plan.free else ''}")
    return "\n".join([*lines, *(f"  note: {note}" for note in plan.notes)])


def as_data(plan: Plan) -> dict[str, Any]:
    """For programs; all numbers are bytes except steps, views and pixels."""
    measured = ("render", "guidance", "backward", "peak")
    phases = [asdict(one.phase) | {part: getattr(one, part) for part in measured} for one in plan.phases]
    return {**vars(plan), "tensors": plan.tensors, "peak": plan.peak, "phases": phases}


def described(phase: Phase) -> str:
    """What a phase's steps compute."""
    normals = f"normals for {' and '.join(phase.normals)}" if phase.normals else "no normals"
    return f"{phase.views} view{'s' if phase.views > 1 else ''} of {phase.width} x {phase.height}, {normals}"


def size(count: int | None) -> str:
    """Bytes in MB or GB, powers of ten."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
