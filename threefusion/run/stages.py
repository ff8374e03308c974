"""Stages of a run folder: which one the command line names, which are finished, and making room to train some again."""

from __future__ import annotations

import os
from pathlib import Path

from threefusion.config import RunConfig
from threefusion.config.stages import stage_index
from threefusion.errors import UserError, nearest
from threefusion.machine.files import cannot_write
from threefusion.messages import Noted, send
from threefusion.run.folder import latest_checkpoint, read_report, stage_folders, writing, written_by_training

RESUME = "python launch.py train --resume"


def named_stage(config: RunConfig, option: str, name: str) -> int:
    """Index of the stage that a command-line option names.

    Raises:
        UserError: there is no such stage.
    """
    if not config.stages:
        raise UserError(f"{option} {name}: this run has no stages")
    names = [stage.name for stage in config.stages]
    index = stage_index(name, names)
    if index is None:
        raise UserError(f"{option} {name}: no such stage{nearest(name, names)}")
    return index


def is_finished(folder: Path) -> bool:
    """Whether a stage has a checkpoint and its report."""
    from threefusion.run.cost import COST

    return latest_checkpoint(folder) is not None and COST <= (read_report(folder) or {}).keys()


def keep_earlier(run: Path, config: RunConfig, first: int) -> None:
    """Move what stage `first` and those after it have written, and the results of the run, into a new folder `stages/kept-N`.

    The last stage is moved first: a killed process leaves a run that can be resumed.

    Raises:
        UserError: a stage before `first` is not finished, or the folder cannot be written.
    """
    from threefusion.run.exported import LIST

    folders = stage_folders(run, config)
    for stage, folder in zip(config.stages[:first], folders, strict=False):
        if not is_finished(folder):
            name = config.stages[first].name
            raise UserError(f"--from-stage {name}: stage {stage.name} is not finished. Finish it first: {RESUME} {run}")
    with writing(run):
        # what the run folder holds of the last stage's scene; first the report, which marks the run as finished
        patterns = ("report.json", LIST, "mesh", "turntable*.mp4", "index.html")
        results = [path for pattern in patterns for path in sorted(run.glob(pattern)) if path.is_file() or any(path.iterdir())]
        trained = [folder for folder in reversed(folders[first:]) if folder.is_dir() and any(written_by_training(folder))]
        if not trained:
            return
        number = 1
        while os.path.lexists(kept := run / "stages" / f"kept-{number}"):
            number += 1
        try:
            kept.mkdir()
            for path in (*results, *trained):
                path.rename(kept / path.name)
        except OSError as error:
            raise cannot_write(kept, error) from error
    send(Noted(f"{', '.join(folder.name for folder in reversed(trained))}: moved to {kept}"))
