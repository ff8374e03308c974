"""The verb `eval`. Loads no torch before its arguments are known to be good."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError

if TYPE_CHECKING:
    from threefusion.config import RunConfig


def eval_arguments(parser: Parser) -> None:
    """Arguments of `eval`."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--views", type=int, default=24, metavar="N", help="views of each kind of picture, 4 to 120 (24)")
    parser.add_argument("--clip", type=Path, metavar="FOLDER", help="a CLIP model that judges; default the bundled judge")
    parser.add_argument(
        "--candidates", type=Path, metavar="FILE", help="captions, one per line, that the prompt must stand out from"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def evaluate(arguments: argparse.Namespace) -> int:
    """Evaluate every run, write its evaluation.json, and print what was found."""
    from threefusion.machine.process import prepare_process
    from threefusion.run.folder import open_run

    if not 4 <= arguments.views <= 120:
        raise UserError("--views: 4 to 120")
    configs = {folder: open_run(folder) for folder in dict.fromkeys(arguments.runs)}
    from threefusion.evaluate.candidates import read_captions

    captions = read_captions(arguments.candidates) if arguments.candidates else None
    prepare_process()
    from threefusion.evaluate.evaluate import evaluate_run
    from threefusion.evaluate.report import as_page, summaries

    results = []
    for folder in configs:
        if len(configs) > 1:
            print(f"{folder} …", file=sys.stderr)
        results.append(evaluate_run(folder, arguments.views, arguments.clip, captions))
    together = summaries(zip(map(without_seed, configs.values()), results, strict=True))
    if arguments.json:
        print(json.dumps({"runs": results, "summaries": together}, indent=2, ensure_ascii=False))
    else:
        print(as_page(results, together))
    return 0


def without_seed(config: RunConfig) -> str:
    """What runs that differ in their seed alone have in common."""
    from dataclasses import replace

    from threefusion.config import config_to_yaml

    return config_to_yaml(replace(config, seed=0))


EVAL = Verb(
    "Measure how good the result of a run is.",
    eval_arguments,
    evaluate,
    ("eval RUN", "eval runs/quickstart/* --json", "eval RUN --clip models/clip-vit-base-patch32 --candidates captions.txt"),
)
