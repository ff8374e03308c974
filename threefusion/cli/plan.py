"""The command `plan`. Loads no torch before its config has been checked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from threefusion.cli.check import is_override
from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError


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
    from threefusion.plan.report import as_data, as_page

    plans = measure_stages(config)
    if arguments.json:
        stages = [{"name": name, **as_data(plan)} for name, plan in plans.items()]
        print(json.dumps({"stages": stages} if config.stages else as_data(plans[config.name]), indent=2, ensure_ascii=False))
        return 0
    for name, plan in plans.items():
        print(as_page(plan, f"{arguments.config}{f', stage {name},' if config.stages else ''}"))
    return 0


PLAN = Verb(
    "Measure the memory that a run needs, by phase.",
    plan_arguments,
    plan_command,
    ("plan configs/quickstart.yaml", "plan configs/dreamfusion-sd.yaml camera.batch_size=4 --json"),
)
