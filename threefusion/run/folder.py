"""The folder that holds everything about a run; no torch here, so that errors come at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

from threefusion.config import RunConfig, config_to_yaml, load_config
from threefusion.errors import UserError
from threefusion.machine.files import locked, numbered

LOCK = ".lock"
"""The lock file of a run folder."""
RUN_VARIABLE = "THREEFUSION_RUN"
"""Names the run folder for the other processes of a multi-device run."""


def new_run_folder(config: RunConfig, out: Path | None) -> Path:
    """A folder that did not exist before: `out`, or `runs/<config>/<prompt>-<n>`.

    Raises:
        UserError: `out` holds a run already.
    """
    if RUN_VARIABLE in os.environ:
        return Path(os.environ[RUN_VARIABLE])
    run = out or free_folder(config)
    try:
        if run.exists() and any(path.name != LOCK for path in run.iterdir()):
            raise FileExistsError
        (run / "mesh").mkdir(parents=True)  # of two processes one succeeds
    except FileExistsError:
        raise UserError(
            f"--out {out}: the folder is not empty. Continue that run with --resume {out}, or name another folder"
        ) from None
    for folder in stage_folders(run, config):
        make_stage_folder(folder)
    write_config(run, config)
    (run / "environment.json").write_text(json.dumps(environment(), indent=2), encoding="utf-8")
    return run


def free_folder(config: RunConfig) -> Path:
    """A new, empty folder `runs/<config>/<prompt>-<n>`, which no other process can take."""
    stem = re.sub(r"[^a-z0-9]+", "-", config.text.lower()).strip("-")[:60] or "run"
    for number in count(1):
        run = Path("runs") / config.name / f"{stem}-{number}"
        with suppress(FileExistsError):
            run.mkdir(parents=True)
            return run


def write_config(run: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    write_atomically(run / "config.yaml", config_to_yaml(config))


def discard_unused(run: Path) -> None:
    """Remove a run folder that holds nothing but what `new_run_folder` put there, so that its name is free again."""
    files = {path for path in run.rglob("*") if path.is_file()}
    if RUN_VARIABLE not in os.environ and files <= {run / name for name in (LOCK, "config.yaml", "environment.json")}:
        shutil.rmtree(run)


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


def open_run(run: Path) -> RunConfig:
    """The resolved config of a run folder.

    Raises:
        UserError: not a run folder.
    """
    if not (run / "config.yaml").exists():
        raise UserError(f"{run}: not a run folder (it has no config.yaml)")
    return load_config(run / "config.yaml", [])


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
    stages = sorted(run.glob("stages/*"), key=lambda folder: int(folder.name.partition("-")[0]))
    paths = [path for folder in stages or [run] for path in checkpoints(folder)]
    return paths[-1] if paths else None


def checkpoint_step(checkpoint: Path | None) -> int:
    """The optimiser step at which a checkpoint was written; 0 for none."""
    return 0 if checkpoint is None else int(checkpoint.stem.split("-")[1])


def relative(path: Path | None, run: Path) -> str | None:
    """`path` as seen from the run folder, so that a run can be moved."""
    return None if path is None else str(path.relative_to(run))


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a run or of a stage, None where there is none: it is not finished."""
    path = folder / "report.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write report.json."""
    write_atomically(folder / "report.json", json.dumps(report, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that readers see the old text or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
