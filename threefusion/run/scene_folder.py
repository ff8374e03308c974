"""A folder of runs that are trained together, one for each prompt of a list. Loads no torch."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from pathlib import Path

from threefusion.config import ConfigError, RunConfig
from threefusion.config.document import COMMAND_LINE, Place
from threefusion.errors import UserError
from threefusion.machine.files import TEMPORARY, cannot_write, read_json, write_atomically
from threefusion.run.folder import artifacts, is_untrained, new_run_folder, open_run, read_report

MARKER = ".scenes.json"
"""Marks a folder of runs; hidden, so that FOLDER/* are the runs."""


@dataclass(frozen=True)
class SceneRun:
    """One of several runs that are trained together."""

    config: RunConfig
    run: Path

    @property
    def name(self) -> str:
        """What its messages begin with."""
        return self.run.name


def read_prompts(path: Path) -> dict[str, Place]:
    """The prompts of a file, one a line, and where each was written. Empty lines and those that begin with # do not count.

    Raises:
        UserError: there is no such file, it is no text, it has no prompt, or one twice.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        raise UserError(f"--prompts {path}: expected a text file with a prompt per line, not YAML")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"--prompts {path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"--prompts {path}: {error.strerror}") from error
    prompts: dict[str, Place] = {}
    for number, line in enumerate(text.splitlines(), 1):
        prompt, place = line.strip(), Place(str(path), number)
        if not prompt or prompt.startswith("#"):
            continue
        if prompt in prompts:
            raise ConfigError(f"{prompt!r} is given twice, first in line {prompts[prompt].line}", place)
        prompts[prompt] = place
    if not prompts:
        raise UserError(f"--prompts {path}: it has no prompt; expected one per line")
    return prompts


def scene_configs(prompts: dict[str, Place], load: Callable[[str], RunConfig]) -> list[RunConfig]:
    """The config of each prompt, as `load` returns it.

    Raises:
        ConfigError: a config is wrong; the message names the line if only that prompt's is.
    """
    configs: list[RunConfig] = []
    errors: dict[str, ConfigError] = {}
    for prompt in prompts:
        try:
            configs.append(load(prompt))
        except ConfigError as error:
            errors[prompt] = error
    for prompt, error in errors.items():
        common = not configs and {other.problem for other in errors.values()} == {error.problem}
        if common or getattr(error.place, "file", None) != COMMAND_LINE:
            raise error
        raise ConfigError(f"{prompt!r}: {error.problem}", prompts[prompt]) from error
    return configs


def open_scenes(
    configs: Sequence[RunConfig], out: Path | None, stem: str, name: Callable[[RunConfig], str] = attrgetter("text")
) -> tuple[Path, list[SceneRun]]:
    """A new folder of runs, `out` or `runs/<config>/<stem>-<n>`, with a run folder for each config, named by its `name`.

    Raises:
        UserError: `out` holds anything but what such a training begins with, or cannot be written.
    """
    folder = claimed_folder(out) if out is not None else free_folder(configs[0], stem)
    names: dict[str, RunConfig] = {}
    for config in configs:
        names[unused(name(config), names)] = config
    scenes = [SceneRun(config, folder / chosen) for chosen, config in names.items()]
    try:
        for scene in scenes:
            new_run_folder(scene.config, scene.run)
        # last, because it says that all are there
        write_atomically(folder / MARKER, json.dumps({scene.name: scene.config.text for scene in scenes}, indent=2) + "\n")
    except BaseException:
        for scene in scenes:
            if scene.run.is_dir() and is_untrained(scene.run):
                shutil.rmtree(scene.run, ignore_errors=True)
        with suppress(OSError):  # it is not empty
            folder.rmdir()
        raise
    return folder, scenes


def is_scenes(folder: Path) -> bool:
    """Whether a folder holds runs that are trained together."""
    return (folder / MARKER).is_file()


def reopen_scenes(folder: Path, overrides: Sequence[str]) -> list[SceneRun]:
    """The runs of a folder that are not finished, with overrides.

    Raises:
        UserError: the list of runs is damaged, or one is missing.
    """
    listed = read_json(folder / MARKER)
    if not listed:
        raise UserError(f"{folder / MARKER}: damaged; resume each run by itself")
    scenes = [SceneRun(open_run(folder / name, overrides), folder / name) for name in listed]
    return [scene for scene in scenes if not is_finished(scene)]


def is_finished(scene: SceneRun) -> bool:
    """Whether a run has taken all of its steps and was exported."""
    report, steps = read_report(scene.run) or {}, sum(part.trainer.max_steps for part in scene.config.parts)
    exported = not scene.config.exporters or artifacts(report).get("mesh") is not None
    return exported and isinstance(taken := report.get("steps"), int) and 0 <= steps <= taken


def claimed_folder(out: Path) -> Path:
    """`out`, created if it did not exist.

    Raises:
        UserError: it is a file, holds anything but untrained runs, or cannot be written.
    """
    if is_scenes(out):
        raise UserError(f"--out {out}: the folder is not empty. Continue with --resume {out}, or name another folder")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file. Name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = [path for path in out.iterdir() if not TEMPORARY.fullmatch(path.name)]
    except OSError as error:
        raise cannot_write(out, error) from error
    if not all(path.is_dir() and is_untrained(path) for path in others):
        raise UserError(f"--out {out}: the folder is not empty. Name another folder")
    return out


def free_folder(config: RunConfig, stem: str) -> Path:
    """A new folder `runs/<config>/<stem>-<n>`."""
    for number in count(1):
        folder = Path("runs") / config.name / f"{slug(stem)}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(folder, error) from error
        return folder
    raise AssertionError


def unused(text: str, names: dict[str, RunConfig]) -> str:
    """The name of the folder for a text, numbered if others have it."""
    return next(name for number in count(1) if (name := slug(text) + (f"-{number}" if number > 1 else "")) not in names)


def slug(text: str) -> str:
    """Lower-case letters and digits of a text, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "run"
