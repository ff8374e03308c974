"""The command `plan`. Loads no torch before its config has been checked."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.cli.check import is_override
from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError

if TYPE_CHECKING:
    from threefusion.plan.plan import Plan, StageMemory


def plan_arguments(parser: Parser) -> None:
    """Arguments of `plan`."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the config of a run, a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the config")
    parser.add_argument("--json", action="store_true", help="print JSON; all numbers are bytes except steps, views and pixels")


def plan_command(arguments: argparse.Namespace) -> int:
    """Measure one step of each stage of a run and what follows the training, and print the memory that it took."""
    from threefusion.config import load_config

    if wrong := [text for text in arguments.overrides if not is_override(text)]:
        raise UserError(f"{wrong[0]!r}: expected key=value; one config at a time")
    config = load_config(arguments.config, arguments.overrides)
    from threefusion.machine.process import environment_variable, prepare_process

    prepare_process()
    from threefusion.plan.plan import measure
    from threefusion.run.trainer import silence_libraries

    silence_libraries()
    with tempfile.TemporaryDirectory(prefix="threefusion-plan-") as folder:
        # every text is encoded, as on a machine that has cached none yet
        with environment_variable("THREEFUSION_CACHE", str(Path(folder, "cache"))):
            plan = measure(config, Path(folder, "run"))
    print(json.dumps(asdict(plan), indent=2, ensure_ascii=False) if arguments.json else as_page(plan, str(arguments.config)))
    return 0


def as_page(plan: Plan, name: str) -> str:
    """For people."""
    lines = [f"{name} on {plan.device}", *(line for stage in plan.stages for line in stage_lines(stage))]
    lines.append(f"  at most   {size(plan.peak)}, with all that follows the training")
    if plan.device != "cpu":
        lines.append(f"  main      {size(plan.resident)} of main memory")
    if plan.free is not None:
        lines.append(f"  free      {size(plan.free)}{', which is not enough' if (plan.peak or 0) > plan.free else ''}")
    return "\n".join([*lines, *(f"  note: {note}" for stage in plan.stages for note in stage.notes)])


def stage_lines(stage: StageMemory) -> list[str]:
    """A stage's scene, prior and step."""
    views = f"{stage.views} view{'s' if stage.views > 1 else ''} of {stage.width} x {stage.height}"
    return [
        f"  scene     {size(stage.parameters)}, optimiser {size(stage.optimizer)}",
        *([f"  critic    {size(stage.critics)}"] if stage.critics else []),
        f"  prior     {size(stage.prior)}",
        f"  training  {size(stage.peak)}; {stage.name}, step {stage.step}: {views}, {'' if stage.normals else 'no '}normals",
    ]


def size(count: int | None) -> str:
    """Bytes in MB or GB, powers of ten."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


PLAN = Verb(
    "Measure the memory that a run needs.",
    plan_arguments,
    plan_command,
    ("plan configs/quickstart.yaml", "plan configs/dreamfusion-sd.yaml camera.batch_size=4 --json"),
)
