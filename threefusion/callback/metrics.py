"""metrics.csv: one row per logged step, kept across resumes."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only


class CsvMetrics(Logger):
    """Rows are held back until `save` and appended in one write; a new column rewrites the file, through a temporary one.

    So a row costs the same however many there are before it. Lightning's own CSVLogger writes all of them again for each, and
    deletes the old file when a run is resumed; this one keeps the rows before the resumed step.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        """Those of the file as this logger has written it; none before it has."""
        self.rows = [row for row in self._written() if int(row["step"]) < resumed_step]
        """What is not written yet."""

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
        """Write the rows that have come since the last time."""
        if not self.rows:
            return
        columns = list(dict.fromkeys([*self.columns, *(name for row in self.rows for name in row)]))
        if columns == self.columns:
            with self.path.open("ab") as file:
                file.write(as_csv(self.rows, columns))
        else:
            earlier = self._written() if self.columns else []
            temporary = self.path.with_suffix(".tmp")
            temporary.write_bytes(as_csv([dict(zip(columns, columns, strict=True)), *earlier, *self.rows], columns))
            os.replace(temporary, self.path)
        self.columns, self.rows = columns, []

    def _written(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        text = self.path.read_bytes().decode()
        # a crash may have cut the last row short
        whole = text[: text.rfind("\n") + 1]
        return list(csv.DictReader(io.StringIO(whole, newline="")))


def as_csv(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    """The rows as they stand in a file with these columns."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue().encode()
