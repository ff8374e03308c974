"""The command `eval`. Validates its arguments before loading torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError

if TYPE_CHECKING:
    from threefusion.config import RunConfig


def eval_arguments(parser: Parser) -> None:
    """Arguments of `eval`."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--views", type=int, default=24, metavar="N", help="number of views, 4 to 120 (24)")
    parser.add_argument(
        "--clip", type=Path, metavar="FOLDER", help="folder of a CLIP model for the text-image scores (the bundled judge)"
    )
    parser.add_argument("--candidates", type=Path, metavar="FILE", help="candidate captions for R-precision, one per line")
    parser.add_argument("--json", action="store_true", help="print JSON")


def eval_command(arguments: argparse.Namespace) -> int:
    """Evaluate runs, write each evaluation.json, and print the results."""
    from threefusion.machine.process import prepare_process
    from threefusion.run.folder import open_run

    if not 4 <= arguments.views <= 120:
        raise UserError("--views: expected 4 to 120")
    # a gallery is among the runs where the shell has replaced `runs/quickstart/*`
    runs = [path for path in dict.fromkeys(arguments.runs) if path.name != "index.html"]
    configs = {folder: open_run(folder) for folder in runs or arguments.runs}
    from threefusion.evaluate.candidates import read_captions

    captions = read_captions(arguments.candidates) if arguments.candidates else None
    prepare_process()
    from threefusion.evaluate.evaluate import evaluate_run
    from threefusion.evaluate.report import format_report, summaries
    from threefusion.machine.progress import progress
    from threefusion.run.page import refresh_page

    results = []
    for folder in configs:
        with progress(str(folder)):
            results.append(evaluate_run(folder, arguments.views, arguments.clip, captions))
        refresh_page(folder, configs[folder])
    summary = summaries(zip(map(without_seed, configs.values()), results, strict=True))
    if arguments.json:
        print(json.dumps({"runs": results, "summaries": summary}, indent=2, ensure_ascii=False))
    else:
        print(format_report(results, summary))
    return 0


def without_seed(config: RunConfig) -> str:
    """The config without the seed, as the key of a group of runs."""
    from dataclasses import replace

    from threefusion.config import config_to_yaml

    return config_to_yaml(replace(config, seed=0))


EVAL = Verb(
    "Evaluate the result of a run.",
    eval_arguments,
    eval_command,
    ("eval RUN", "eval runs/quickstart/* --json", "eval RUN --clip models/clip-vit-base-patch32 --candidates captions.txt"),
)
