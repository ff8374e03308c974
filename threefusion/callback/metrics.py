"""metrics.csv: one row per logged step, kept across resumes."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only


class CsvMetrics(Logger):
    """Rows are held back until `save` and then written whole, through a temporary file: the file on disk is never half a row.

    Lightning's own CSVLogger deletes the old file when a run is resumed; this one keeps the rows before the resumed step.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) < resumed_step]

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Runs are told apart by their folder."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep one row."""
        values = {name: f"{value:.6g}" for name, value in metrics.items() if name != "epoch"}
        if values:
            self.rows.append({"step": step, **values})

    @rank_zero_only
    def save(self) -> None:
        """Write every row."""
        if not self.rows:
            return
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.path)
