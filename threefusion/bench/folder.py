"""The folders of a benchmark and its cells. Loads no torch."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from threefusion.bench.plan import Cell
from threefusion.config import ConfigError, RunConfig, changes, config_to_yaml, load_config
from threefusion.errors import UserError
from threefusion.evaluate.independence import BUNDLED_JUDGE
from threefusion.guidance.prior.files import fingerprint
from threefusion.guidance.prior.models import guiding_models, local_folder
from threefusion.machine.files import TEMPORARY, read_json, write_atomically
from threefusion.run.folder import latest_checkpoint

MARKER = "benchmark.json"
"""Marks a folder as that of a benchmark."""


@dataclass(frozen=True)
class Record:
    """The state of a cell: cell.json."""

    state: str = "waiting"
    """waiting, running, finished or failed."""
    trained: bool = False
    """Training and export are done; only the evaluation is missing."""
    evaluation: tuple[str, ...] = ()
    """How it was evaluated; see `evaluated_with`."""
    prior: str = ""
    """The weights of its prior; see `guided_by`."""
    attempts: int = 0
    """How often it was started; more than 1 after an interruption or a failure."""
    reason: str | None = None
    """Why it failed."""
    remark: str | None = None
    """What went wrong in a training that completed nevertheless."""

    @property
    def trouble(self) -> str | None:
        """Its problem, failed or not."""
        return self.reason or self.remark


def evaluated_with(options: Sequence[str]) -> tuple[str, ...]:
    """These options of `eval` with fingerprints of the judge and the candidates; only equal ones give comparable numbers."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    judge = Path(given["--clip"]) if "--clip" in given else BUNDLED_JUDGE
    identity = (*options, f"judge {fingerprint(judge, ('.',))}")
    if "--candidates" in given:
        identity += (f"candidates {hashlib.sha256(Path(given['--candidates']).read_bytes()).hexdigest()[:32]}",)
    return identity


def guided_by(config: RunConfig) -> str:
    """The fingerprints of the priors' model folders; empty for models without a local folder."""
    folders = [local_folder(model) for model in guiding_models(config)]
    return " ".join(fingerprint(folder, (".",)) for folder in folders if folder is not None)


@dataclass(frozen=True)
class CellFolder:
    """The files of a cell: settings.yaml, cell.json, logs, and the run folder itself."""

    path: Path

    @property
    def settings(self) -> Path:
        """The resolved config that the run is started with."""
        return self.path / "settings.yaml"

    @property
    def run(self) -> Path:
        """An ordinary run folder."""
        return self.path / "run"

    @property
    def errors(self) -> Path:
        """What training and evaluation wrote to stderr."""
        return self.path / "stderr.log"

    @property
    def output(self) -> Path:
        """What they wrote to stdout."""
        return self.path / "stdout.log"

    def record(self) -> Record:
        """The cell's record; a fresh one if it is missing or unreadable."""
        data = read_json(self.path / "cell.json") or {}
        try:
            return Record(**data | {"evaluation": tuple(data.get("evaluation", ()))})
        except TypeError:
            return Record()

    def write_record(self, record: Record) -> None:
        """Write cell.json."""
        write_atomically(self.path / "cell.json", json.dumps(asdict(record), indent=2) + "\n")

    def evaluation(self) -> dict[str, Any] | None:
        """The sections of evaluation.json; None when there is none."""
        return read_json(self.run / "evaluation.json")

    def is_finished(self, evaluation: Sequence[str]) -> bool:
        """Whether it is trained, and evaluated with these options of `eval` by the current judge."""
        record = self.record()
        return record.state == "finished" and record.evaluation == evaluated_with(evaluation) and self.evaluation() is not None

    def holds_work(self) -> bool:
        """Whether running it from scratch would lose work."""
        return self.record().trained or latest_checkpoint(self.run) is not None

    def clear(self) -> None:
        """Delete everything atomically: a half-deleted folder could be taken for work."""
        trash = self.path.with_name(f"{self.path.name}.old")
        shutil.rmtree(trash, ignore_errors=True)
        if self.path.exists():
            self.path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)

    def prepare(self, cell: Cell) -> None:
        """Write the settings of the run, and record the weights of its prior unless it has started."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.holds_work():
            self.write_record(replace(self.record(), prior=guided_by(cell.config)))
        write_atomically(self.settings, config_to_yaml(cell.config))


def cell_folder(benchmark: Path, cell: Cell) -> CellFolder:
    """The folder of a cell: cells/<variant>/<prompt>-<seed>, with a checksum unless the prompt is plain lower-case words."""
    slug = re.sub(r"[^a-z0-9]+", "-", cell.prompt.lower()).strip("-")[:60]
    if slug.replace("-", " ") != cell.prompt:
        slug = f"{slug}-{zlib.crc32(cell.prompt.encode()):08x}".lstrip("-")
    return CellFolder(benchmark / "cells" / cell.variant / f"{slug}-{cell.seed}")


def changed_setting(folder: CellFolder, cell: Cell) -> str | None:
    """The first setting in which existing work differs from the plan; None if the existing work can be resumed."""
    if not folder.holds_work():
        return None
    try:
        existing = load_config(folder.settings, [])
    except ConfigError as error:
        return f"its settings cannot be loaded: {error}"
    if existing != cell.config:
        changed = changes(config_to_yaml(existing), config_to_yaml(cell.config))
        return changed[0] if changed else "written differently"
    prior = folder.record().prior
    return "the prior had other weights" if prior and prior != guided_by(cell.config) else None


def open_folder(folder: Path, name: str) -> None:
    """Create or open the folder of a benchmark.

    Raises:
        UserError: it holds something else.
    """
    # a benchmark that was killed while writing its marker leaves a temporary file
    others = [path for path in folder.iterdir() if not TEMPORARY.fullmatch(path.name)] if folder.is_dir() else []
    if others and not (folder / MARKER).is_file():
        raise UserError(f"--out {folder}: the folder is not empty and holds no benchmark. Choose another one")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is a file")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / MARKER, json.dumps({"name": name}) + "\n")
