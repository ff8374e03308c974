"""`train --prompts`: several scenes in one process. Loads no torch before their configs have been checked."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from threefusion.config import ConfigError, RunConfig, load_config
from threefusion.config.sections import WandbConfig
from threefusion.errors import UserError
from threefusion.guidance.prior.vocabulary import prompt_warnings
from threefusion.machine.process import prepare_process
from threefusion.run.launcher import find_launch, fitted
from threefusion.run.scene_folder import SceneRun, open_scenes, read_prompts, reopen_scenes, scene_configs
from threefusion.run.source import refuse_lost_sources
from threefusion.run.stages import RESUME, named_stage


def train_prompts(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Train a scene for each prompt of a file, all in one folder. Returns 0, 1 if one failed, 130 if stopped."""
    if arguments.prompt is not None:
        raise UserError("--prompts and --prompt exclude each other")
    if any(text.lstrip("+~").startswith("prompt.text=") for text in overrides):
        raise UserError("prompt.text: --prompts gives it")
    if arguments.config is None or arguments.from_stage is not None:
        raise UserError("--prompts begins new runs: it needs --config FILE, and takes neither --resume nor --from-stage")
    prompts = read_prompts(arguments.prompts)
    configs = scene_configs(prompts, lambda prompt: load_config(arguments.config, [*overrides, f"prompt.text={prompt}"]))
    until = check(configs, arguments)
    for config, place in zip(configs, prompts.values(), strict=True):
        try:
            warnings = prompt_warnings(config, arguments.anyway)
        except UserError as error:
            raise ConfigError(str(error), place) from error
        for warning in warnings:
            print(f"{place}: warning: {warning}", file=sys.stderr)
    return train_all(*open_scenes(configs, arguments.out, arguments.prompts.stem), until, arguments.at_once)


def resume_all(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Go on with the runs of a folder that are not finished."""
    if arguments.from_stage is not None or arguments.prompt is not None:
        raise UserError(f"--resume {arguments.resume}: holds several runs; --from-stage and --prompt are for one of them")
    scenes = reopen_scenes(arguments.resume, overrides)
    if not scenes:
        print(f"{arguments.resume}: all of its runs are finished")
        return 0
    until = check([scene.config for scene in scenes], arguments)
    for scene in scenes:
        refuse_lost_sources(scene.config, scene.run, None)
    return train_all(arguments.resume, scenes, until, arguments.at_once)


def check(configs: Sequence[RunConfig], arguments: argparse.Namespace) -> int | None:
    """The stage of --until-stage.

    Raises:
        UserError: it does not exist, or such runs cannot share a process.
    """
    check_process(configs[0], arguments.at_once)
    return None if arguments.until_stage is None else named_stage(configs[0], "--until-stage", arguments.until_stage)


def check_process(config: RunConfig, at_once: int | None) -> None:
    """Refuse runs that cannot share a process.

    Raises:
        UserError: they need several processes or devices, log to W&B, or have a page.
    """
    if at_once is not None and at_once < 1:
        raise UserError("--at-once: at least 1")
    if find_launch(os.environ) is not None or not is_single(config):
        raise UserError(
            "several scenes train in one process on one device: set trainer.devices=1, and start it without a launcher"
        )
    if isinstance(config.logger, WandbConfig):
        raise UserError("logger: wandb logs one run per process; choose csv or tensorboard for several scenes")
    if config.viewer is not None:
        raise UserError("viewer: a page shows a single run; leave --view and viewer out for several scenes")


def is_single(config: RunConfig) -> bool:
    """Whether a run has one process."""
    devices = fitted(config.trainer).devices
    count = len(devices) if isinstance(devices, list) else devices
    return str(count) == "1" and config.trainer.num_nodes == 1


def train_all(folder: Path, scenes: Sequence[SceneRun], until: int | None, at_once: int | None) -> int:
    """Train scenes of a folder and say what has become of them."""
    prepare_process()
    from threefusion.run.scenes import train_scenes

    codes = train_scenes(scenes, until, at_once)
    failed = [name for name, code in codes.items() if code not in (0, 130)]
    stopped = 130 in codes.values() or len(codes) < len(scenes)
    if failed:
        names = f"{len(failed)} of {len(scenes)} scenes failed ({', '.join(failed)})"
        print(f"{names}. After fixing the cause: {RESUME} {folder}", file=sys.stderr)
    if stopped:
        print(f"stopped. Resume with: {RESUME} {folder}", file=sys.stderr)
        return 130
    if not failed:
        print(f"{len(scenes)} scenes: {folder}")
    return 1 if failed else 0
