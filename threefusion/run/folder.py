"""The folder that holds everything about a run; no torch here, so that errors come at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

from threefusion.config import RunConfig, config_to_yaml, load_config
from threefusion.errors import UserError
from threefusion.machine.files import TEMPORARY, locked, numbered, read_json, remove_temporaries, write_atomically, write_json
from threefusion.messages import Noted, send

LOCK = ".lock"
"""The lock file of a run folder."""
RUN_VARIABLE = "THREEFUSION_RUN"
"""Names the run folder for the other processes of a multi-device run."""
BEFORE_CHECKPOINT = re.compile(r"(stages/[^/]+/)?(images/\d+\.png|metrics(\.kept-\d+)?\.csv)|index\.html|(tensorboard|wandb)/.*")
"""Files that a run writes before its first checkpoint."""


@contextmanager
def new_run(config: RunConfig, out: Path | None) -> Iterator[Path]:
    """A folder for a run alone, locked for the block: `out`, or `runs/<config>/<prompt>-<n>`.

    After an error no trace of it remains, unless there is something to see in it.

    Raises:
        UserError: `out` holds anything but a run without a checkpoint, or another process is writing to it.
    """
    if RUN_VARIABLE in os.environ:
        yield Path(os.environ[RUN_VARIABLE])
        return
    parent = Path("runs", config.name) if out is None else out
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    run = free_folder(config) if out is None else claimed(out)
    try:
        with writing(run):
            clear(run)
            # first, because it marks the folder as that of a run
            write_atomically(run / "environment.json", json.dumps(environment(), indent=2))
            for folder in stage_folders(run, config):
                make_stage_folder(folder)
            (run / "mesh").mkdir()
            write_config(run, config)
            yield run
    except BaseException:
        if not any(written_by_training(run)):
            clear(run)
            (run / LOCK).unlink(missing_ok=True)
        for folder in missing if out is not None else [run, *missing]:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def new_run_folder(config: RunConfig, out: Path | None) -> Path:
    """The folder of a `new_run` that is trained later."""
    with new_run(config, out) as run:
        return run


def free_folder(config: RunConfig) -> Path:
    """A new, empty folder `runs/<config>/<prompt>-<n>`, which no other process can take."""
    stem = re.sub(r"[^a-z0-9]+", "-", config.text.lower()).strip("-")[:60] or "run"
    for number in count(1):
        run = Path("runs") / config.name / f"{stem}-{number}"
        with suppress(FileExistsError):
            run.mkdir(parents=True)
            return run
    raise AssertionError


def claimed(out: Path) -> Path:
    """`out`, created if it did not exist.

    Raises:
        UserError: it is a file, or holds anything but a run without a checkpoint.
    """
    try:
        if not out.exists():
            out.mkdir(parents=True)  # of two processes one succeeds
        elif not is_untrained(out):
            raise FileExistsError
    except FileExistsError:
        problem = "the folder is not empty" if out.is_dir() else "is a file"
        advice = f"Continue that run with --resume {out}, or name" if (out / "config.yaml").is_file() else "Name"
        raise UserError(f"--out {out}: {problem}. {advice} another folder") from None
    return out


def written_by_training(run: Path) -> Iterator[Path]:
    """The files of a run but those that it begins with."""
    begins = [run / name for name in ("environment.json", "config.yaml", LOCK)]
    return (path for path in run.rglob("*") if not path.is_dir() and path not in begins and not TEMPORARY.fullmatch(path.name))


def is_untrained(run: Path) -> bool:
    """Whether a folder is empty, or holds nothing but what a run writes before its first checkpoint."""
    if run.is_dir() and all(path.name == LOCK or TEMPORARY.fullmatch(path.name) for path in run.iterdir()):
        return True
    marked = "versions" in (read_json(run / "environment.json") or {})
    names = (path.relative_to(run).as_posix() for path in written_by_training(run))
    return marked and all(map(BEFORE_CHECKPOINT.fullmatch, names))


def clear(run: Path) -> None:
    """Remove everything in a run folder but its lock."""
    for path in run.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def write_config(run: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    write_atomically(run / "config.yaml", config_to_yaml(config))


def reopen(run: Path) -> Path:
    """A run folder that is trained on: what a killed process left half-written is removed, foreign checkpoints are named."""
    if RUN_VARIABLE not in os.environ:
        remove_temporaries(run)
        name_lost_checkpoint(run)
        for folder in (run, *sorted(run.glob("stages/*"))):
            for path in sorted(set(folder.glob("checkpoints/*")) - set(checkpoints(folder))):
                send(Noted(f"{path}: ignored, it is no checkpoint of this run"))
    return run


def environment() -> dict[str, Any]:
    """Versions that matter for repeating a run."""
    from importlib.metadata import version

    import threefusion

    packages = ("torch", "pytorch-lightning", "diffusers", "transformers", "numpy")
    versions = {"python": sys.version.split()[0], "threefusion": threefusion.__version__}
    return {"argv": sys.argv, "versions": versions | {name: version(name) for name in packages}}


def writing(run: Path) -> AbstractContextManager[None]:
    """Hold the lock of a run: a single process writes there. The first process of a multi-device run holds it for all.

    Raises:
        UserError: another process holds it.
    """
    if RUN_VARIABLE in os.environ:
        return nullcontext()
    return locked(run / LOCK, f"{run}: another process is writing to this run. Wait until it has ended, or stop it")


def open_run(run: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The resolved config of a run folder, with overrides.

    Raises:
        UserError: not a run folder.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: {'not a run folder (it has no config.yaml)' if run.is_dir() else 'no such run folder'}")
    return load_config(run / "config.yaml", list(overrides), started=True)


def stage_folders(run: Path, config: RunConfig) -> list[Path]:
    """The folders of a run's stages, `stages/1-coarse` and so on; the run folder itself without stages."""
    return [run / "stages" / f"{number}-{stage.name}" for number, stage in enumerate(config.stages, 1)] or [run]


def make_stage_folder(folder: Path) -> None:
    """Create the folders that a training writes to."""
    for part in ("checkpoints", "images"):
        (folder / part).mkdir(parents=True, exist_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run without stages or of a stage, oldest first."""
    return numbered(folder / "checkpoints", "step-*.ckpt")


def latest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of a run folder (that of its last stage) or of a stage's folder, None when it has none yet."""
    numbers = {folder: folder.name.partition("-")[0] for folder in run.glob("stages/*")}
    stages = sorted((folder for folder, number in numbers.items() if number.isdecimal()), key=lambda folder: int(numbers[folder]))
    paths = [path for folder in stages or [run] for path in checkpoints(folder)]
    return paths[-1] if paths else None


def checkpoint_step(checkpoint: Path | None) -> int:
    """The optimiser step at which a checkpoint was written; 0 for none."""
    return 0 if checkpoint is None else int(checkpoint.stem.split("-")[1])


def relative(path: Path | None, run: Path) -> str | None:
    """`path` as seen from the run folder, so that a run can be moved."""
    return None if path is None else str(path.relative_to(run))


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a run or of a stage, None where there is none that can be read: it is not finished."""
    return read_json(folder / "report.json")


def artifacts(report: dict[str, Any] | None) -> dict[str, Any]:
    """What a report lists as artifacts of its run, nothing if it is damaged."""
    listed = (report or {}).get("artifacts")
    return listed if isinstance(listed, dict) else {}


def name_lost_checkpoint(run: Path) -> None:
    """Print that the checkpoint which a run ended with does not exist any more."""
    last, newest = artifacts(read_report(run)).get("checkpoint"), latest_checkpoint(run)
    if isinstance(last, str) and newest is not None and not (run / last).is_file():
        send(Noted(f"{run / last}: missing, although the run ended with it; {newest.name} is used"))


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write report.json."""
    write_json(folder / "report.json", report)
