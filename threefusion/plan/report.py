"""A plan as a page, as one line, and as data."""

from __future__ import annotations

from typing import Any

from threefusion.plan.plan import Plan, StageMemory
from threefusion.plan.stages import Work


def as_page(plan: Plan, name: str) -> str:
    """For people."""
    scene = f"parameters {size(plan.parameters)}, gradients {size(plan.gradients)}, optimiser {size(plan.optimizer)}"
    lines = [f"{name} on {plan.device}", f"  scene     {scene}", f"  prior     {size(plan.prior)}"]
    if plan.program is not None:
        lines.append(f"  program   {size(plan.program)} before a step is made")
    for stage in plan.stages:
        step = stage.step
        guidance = max(step.guidance - step.kept, stage.networks.guidance)
        lines += [
            f"  {steps(stage)}: {size(plan.peak_of(stage))} of tensors; {work(stage.stage.work)}",
            f"    {'' if step.samples is None else f'at most {step.samples} samples; '}render {size(step.render)}, of which "
            f"{size(step.kept)} is kept; guidance {size(guidance)}; backward {size(max(step.backward, stage.networks.backward))}",
        ]
    lines += [f"  pictures: {size(plan.pictures)}", f"  at most {verdict(plan)}"]
    return "\n".join([*lines, *(f"  note: {note}" for note in plan.notes)])


def as_line(plan: Plan) -> str:
    """What `train` says before it begins."""
    stages = sorted(plan.stages, key=plan.peak_of)
    return f"memory: at most {verdict(plan)}; most in {steps(stages[-1])} ({work(stages[-1].stage.work)})"


def verdict(plan: Plan) -> str:
    """The peak beside what there is."""
    if plan.free is None:
        return size(plan.peak)
    return f"{size(plan.peak)}{', which is more than' if plan.peak > plan.free else ' of'} the {size(plan.free)} that are free"


def as_data(plan: Plan) -> dict[str, Any]:
    """For programs; all numbers are bytes but for steps, views, pixels and samples."""
    parts = ("device", "parameters", "gradients", "optimizer", "prior", "program", "pictures", "free", "peak", "notes")
    return {name: getattr(plan, name) for name in parts} | {"stages": [stage_data(plan, stage) for stage in plan.stages]}


def stage_data(plan: Plan, stage: StageMemory) -> dict[str, Any]:
    """One stage."""
    planned, step = stage.stage, stage.step
    asked = {name: getattr(planned.work, name) for name in ("views", "height", "width", "losses", "normals")}
    return {
        "first_step": planned.first,
        "last_step": planned.last,
        **asked,
        "samples": step.samples,
        "kept": step.kept,
        "render": step.render,
        "guidance": max(step.guidance, step.kept + stage.networks.guidance),
        "backward": max(step.backward, step.kept + stage.networks.backward),
        "peak": plan.peak_of(stage),
    }


def steps(stage: StageMemory) -> str:
    """Which steps, in words."""
    return f"steps {stage.stage.first} to {stage.stage.last}"


def work(asked: Work) -> str:
    """What a stage asks for, in words."""
    normals = f"normals for {' and '.join(asked.normals)}" if asked.normals else "no normals"
    return f"{asked.views} view{'s' if asked.views > 1 else ''} of {asked.width} x {asked.height}, {normals}"


def size(count: int | None) -> str:
    """Bytes in MB or GB of powers of ten."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
