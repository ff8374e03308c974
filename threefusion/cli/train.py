"""The command `train`. Loads no torch before its config has been checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.cli.check import is_override
from threefusion.cli.parser import PROGRAM, Parser, Verb
from threefusion.errors import ConfigError, UserError
from threefusion.machine.process import prepare_process

if TYPE_CHECKING:
    from threefusion.config import RunConfig


def train_arguments(parser: Parser) -> None:
    """Arguments of `train`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="the config of the run, a YAML file")
    parser.add_argument("--prompt", metavar="TEXT", help="what to generate; short for prompt.text=TEXT")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="train a scene for each prompt, one per line, with shared network calls"
    )
    parser.add_argument("--mesh", type=Path, metavar="FILE", help="the mesh to texture; short for geometry.mesh=FILE")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the run or runs (runs/<config>/<prompt>-<n>)")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="resume the run, or runs, in this folder, without --config")
    parser.add_argument(
        "--continue-from",
        type=Path,
        metavar="DIR",
        help="train a seed of a preview to its end: its run, or the preview with --seed",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="with --continue-from PREVIEW: which of its seeds")
    parser.add_argument(
        "--from-stage", metavar="STAGE", help="with --resume: train this stage (name or number) and later ones again"
    )
    parser.add_argument("--until-stage", metavar="STAGE", help="stop after this stage, a name or a number from 0")
    parser.add_argument(
        "--at-once", type=int, metavar="N", help="with --prompts: scenes that are trained at the same time (what memory holds)"
    )
    parser.add_argument("--view", action="store_true", help="watch and steer it in a browser; short for viewer.type=viser")
    parser.add_argument("--anyway", action="store_true", help="train even if the bundled prior does not know the prompt")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the config")


def train_command(arguments: argparse.Namespace) -> int:
    """Check the whole config, then train and export."""
    from threefusion.config import load_config
    from threefusion.run.folder import open_run
    from threefusion.run.scene_folder import is_scenes
    from threefusion.run.source import refuse_lost_sources

    given = [text for text in arguments.overrides if not is_override(text)]
    if given:
        raise UserError(f"{given[0]!r}: expected key=value. A config is given with --config {given[0]}")
    arguments.resume = resumed_run(arguments)
    short = {"prompt.text": arguments.prompt, "geometry.mesh": arguments.mesh}
    overrides = [*arguments.overrides, *(f"{key}={value}" for key, value in short.items() if value is not None)]
    overrides += ["viewer.type=viser"] * arguments.view
    if arguments.prompts is not None or (arguments.resume is not None and is_scenes(arguments.resume)):
        return several(arguments, overrides)
    if arguments.at_once is not None:
        raise UserError("--at-once: only with --prompts FILE, or --resume of the folder that it has made")
    if arguments.resume is None and arguments.config is None:
        raise UserError(f"train needs --config FILE or --resume RUN. See: {PROGRAM} train --help")
    with mesh_refused(arguments.mesh):
        config = load_config(arguments.config, overrides) if arguments.config else open_run(arguments.resume, overrides)
    again, until = stages_of(config, arguments)
    refuse_lost_sources(config, arguments.resume, again)
    if not arguments.resume:  # a resumed run passed this check when it started
        from threefusion.guidance.prior.vocabulary import prompt_warnings

        for warning in prompt_warnings(config, arguments.anyway):
            print(f"warning: {warning}", file=sys.stderr)
    prepare_process()
    from threefusion.run.launcher import shared_run
    from threefusion.run.training import train

    with shared_run(config, arguments.out, arguments.resume, again) as run:
        return train(config, run, until)


def resumed_run(arguments: argparse.Namespace) -> Path | None:
    """What --resume or --continue-from names, None for a new run.

    Raises:
        UserError: they name nothing that can be resumed, or another option contradicts them.
    """
    seed, preview = arguments.seed, arguments.continue_from
    if preview is None and seed is not None:
        raise UserError(f"--seed {seed}: only with --continue-from PREVIEW. A new run takes seed={seed}")
    if preview is not None and (arguments.resume, arguments.prompts) != (None, None):
        raise UserError("--continue-from names what is trained: omit --resume and --prompts")
    run = arguments.resume
    if preview is not None:
        from threefusion.run.preview_folder import chosen_run

        run = chosen_run(preview, seed)
    if run is not None and (arguments.config, arguments.out) != (None, None):
        option = "--resume RUN" if preview is None else "--continue-from RUN"
        raise UserError(f"{option} takes its config and its folder from RUN: omit --config and --out")
    return run


def several(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Train the scenes of --prompts, or go on with those of a folder."""
    from threefusion.cli.scenes import resume_all, train_prompts

    if arguments.resume is not None and (arguments.config, arguments.out, arguments.prompts) != (None, None, None):
        raise UserError("--resume RUN takes its config and its folder from RUN: omit --config, --out and --prompts")
    with mesh_refused(arguments.mesh):
        return (train_prompts if arguments.resume is None else resume_all)(arguments, overrides)


@contextmanager
def mesh_refused(mesh: Path | None) -> Iterator[None]:
    """Names --mesh in the error of a config whose geometry has no field for it."""
    try:
        yield
    except ConfigError as error:
        if mesh is None or not error.problem.startswith("geometry.mesh: unknown"):
            raise
        raise UserError(
            "--mesh: the config's geometry takes no mesh file. Use the geometry 'textured-mesh', as configs/retexture.yaml"
        ) from None


def stages_of(config: RunConfig, arguments: argparse.Namespace) -> tuple[int | None, int | None]:
    """The stages of --from-stage and --until-stage, None for those that are not given.

    Raises:
        UserError: a stage does not exist, or the two contradict each other.
    """
    from threefusion.run.stages import named_stage

    options = {"--from-stage": arguments.from_stage, "--until-stage": arguments.until_stage}
    again, until = (None if name is None else named_stage(config, option, name) for option, name in options.items())
    if again is not None and arguments.resume is None:
        raise UserError("--from-stage trains stages of a run again: name the run with --resume RUN")
    if again is not None and until is not None and until < again:
        raise UserError(f"--until-stage {arguments.until_stage} comes before --from-stage {arguments.from_stage}")
    return again, until


TRAIN = Verb(
    "Train a scene from a prompt, then export it.",
    train_arguments,
    train_command,
    (
        'train --config configs/quickstart.yaml --prompt "a red car"',
        "train --config configs/quickstart.yaml --prompts prompts.txt",
        "train --config configs/quickstart.yaml seed=3 guidance.guidance_scale=20",
        'train --config configs/retexture.yaml --mesh chair.glb --prompt "a blue chair"',
        "train --resume runs/quickstart/a-red-car-1",
        "train --continue-from runs/quickstart/preview-a-red-car-1 --seed 3",
        "train --config configs/quickstart-two-stage.yaml --until-stage coarse",
        "train --resume runs/quickstart-two-stage/a-red-car-1 --from-stage fine",
    ),
)
