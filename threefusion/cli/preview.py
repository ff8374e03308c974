"""The command `preview`. Loads no torch before its configs have been checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from threefusion.cli.check import is_override
from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError
from threefusion.machine.process import prepare_process

if TYPE_CHECKING:
    from threefusion.config import RunConfig
    from threefusion.evaluate.text_image import Judge
    from threefusion.run.scene_folder import SceneRun


def preview_arguments(parser: Parser) -> None:
    """Arguments of `preview`."""
    parser.add_argument("--prompt", metavar="TEXT", help="what to generate (that of the config)")
    parser.add_argument(
        "--config", type=Path, default=Path("quickstart"), metavar="FILE", help="that of the full run (quickstart)"
    )
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="how many seeds, from the config's on (8)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of each seed (a quarter of the full run)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the seeds (runs/<config>/preview-<prompt>-<n>)")
    parser.add_argument("--clip", type=Path, metavar="FOLDER", help="folder of a CLIP model for the score (the bundled judge)")
    parser.add_argument("--at-once", type=int, metavar="N", help="seeds that are trained at the same time (what memory holds)")
    parser.add_argument("--anyway", action="store_true", help="train even if the bundled prior does not know the prompt")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the config")


def preview_command(arguments: argparse.Namespace) -> int:
    """Train the beginning of each seed, then write preview.json, grid.png and index.html, and print the ranking.

    Returns 0, 1 if a seed failed, 130 if stopped.
    """
    from threefusion.cli.scenes import check_process
    from threefusion.guidance.prior.vocabulary import prompt_warnings
    from threefusion.run.folder import checkpoint_step, latest_checkpoint
    from threefusion.run.preview_folder import preview_steps
    from threefusion.run.scene_folder import open_scenes
    from threefusion.run.stages import RESUME

    if given := [text for text in arguments.overrides if not is_override(text)]:
        raise UserError(f"{given[0]!r}: expected key=value. A prompt is given with --prompt")
    configs = seed_configs(arguments)
    steps = preview_steps(configs[0], arguments.steps)
    check_process(configs[0], arguments.at_once)
    for warning in prompt_warnings(configs[0], arguments.anyway):
        print(f"warning: {warning}", file=sys.stderr)
    prepare_process()
    from threefusion.evaluate.seeds import judge_of
    from threefusion.run.scenes import train_scenes

    judge = judge_of(configs[0], arguments.clip)
    folder, scenes = open_scenes(configs, arguments.out, f"preview {configs[0].text}", lambda config: f"seed-{config.seed}")
    codes = train_scenes(scenes, at_once=arguments.at_once, planned=steps)
    failed = [name for name, code in codes.items() if code not in (0, 130)]
    if failed:
        print(f"{len(failed)} of {len(scenes)} seeds failed: {', '.join(failed)}", file=sys.stderr)
    reached = [scene for scene in scenes if checkpoint_step(latest_checkpoint(scene.run)) == steps]
    if len(reached) + len(failed) < len(scenes):
        print(f"stopped before all seeds had {steps} steps. Train all of them to their end: {RESUME} {folder}", file=sys.stderr)
        return 130
    if reached:
        show(folder, reached, steps, judge)
    return 1 if failed else 0


def show(folder: Path, scenes: Sequence[SceneRun], steps: int, judge: Judge | None) -> None:
    """Write what a preview shows, and print the ranking, the page, and the command that goes on with the best seed."""
    from threefusion.evaluate.seeds import NO_SCORE, rank_seeds
    from threefusion.page.scores import about_score, title, value_text
    from threefusion.run.preview_folder import CONTINUE, GRID

    seeds, ranked_by = rank_seeds(folder, scenes, steps, judge)
    for place, seed in enumerate(seeds, 1):
        scores = "  ".join(f"{title(name)} {value_text(name, value)}" for name, value in seed.scores.items())
        print(f"{place}. seed {seed.seed}  {scores}" if ranked_by else f"seed {seed.seed}")
    if ranked_by:
        print(f"ranked by {title(ranked_by)}: {about_score(ranked_by)}")
    else:
        print(f"no score: {NO_SCORE}")
    print(f"page: {folder / 'index.html'}\npicture: {folder / GRID}")
    print(f"Train one to its end: {CONTINUE} {quote(str(folder))} --seed {seeds[0].seed}")


def seed_configs(arguments: argparse.Namespace) -> list[RunConfig]:
    """The config of each seed, which is that of its full run.

    Raises:
        UserError: there are to be no seeds, or the config is wrong.
    """
    from threefusion.config import load_config

    if arguments.seeds < 1:
        raise UserError("--seeds: at least 1")
    prompt = [] if arguments.prompt is None else [f"prompt.text={arguments.prompt}"]
    config = load_config(arguments.config, [*arguments.overrides, *prompt])
    return [config.with_seed(config.seed + index) for index in range(arguments.seeds)]


PREVIEW = Verb(
    "Train the beginning of several seeds, and rank them.",
    preview_arguments,
    preview_command,
    (
        'preview --prompt "a red car" --seeds 8',
        'preview --config configs/quickstart-quality.yaml --prompt "a red car" --steps 200',
        "train --continue-from runs/quickstart/preview-a-red-car-1 --seed 3",
    ),
)
