"""The command `plan`. Loads no torch before its config has been checked."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.cli.check import is_override
from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError

if TYPE_CHECKING:
    from threefusion.plan.phases import Phase
    from threefusion.plan.plan import Plan


def plan_arguments(parser: Parser) -> None:
    """Arguments of `plan`."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the config of a run, a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the config")
    parser.add_argument("--json", action="store_true", help="print JSON")


def plan_command(arguments: argparse.Namespace) -> int:
    """Measure one step of each phase of a run, and print the memory that it took."""
    from threefusion.config import load_config

    if wrong := [text for text in arguments.overrides if not is_override(text)]:
        raise UserError(f"{wrong[0]!r}: expected key=value; one config at a time")
    config = load_config(arguments.config, arguments.overrides)
    from threefusion.machine.process import prepare_process
    from threefusion.run.trainer import silence_libraries

    prepare_process()
    silence_libraries()
    from threefusion.plan.plan import measure_stages

    plans = measure_stages(config)
    if arguments.json:
        stages = [{"name": name, **as_data(plan)} for name, plan in plans.items()]
        print(json.dumps({"stages": stages} if config.stages else as_data(plans[config.name]), indent=2, ensure_ascii=False))
        return 0
    for name, plan in plans.items():
        print(as_page(plan, f"{arguments.config}{f', stage {name},' if config.stages else ''}"))
    return 0


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


PLAN = Verb(
    "Measure the memory that a run needs, by phase.",
    plan_arguments,
    plan_command,
    ("plan configs/quickstart.yaml", "plan configs/dreamfusion-sd.yaml camera.batch_size=4 --json"),
)
