"""metrics.csv: one row per logged step, kept across resumes."""

from __future__ import annotations

import csv
import io
import zlib
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from threefusion.callback.rows import read_rows
from threefusion.machine.files import cannot_write, set_aside, written
from threefusion.messages import Noted, send


class CsvMetrics(Logger):
    """Rows are held back until `save` and appended in one write; a new column rewrites the file, through a temporary one.

    So a row costs the same however many there are before it. Lightning's own CSVLogger writes all of them again for each, and
    deletes the old file when a run is resumed; this one keeps the rows before the resumed step.
    """

    def __init__(self, path: Path, resumed_step: int, digest: int | None = None) -> None:
        """`digest` is that of the rows before `resumed_step`, as a checkpoint holds it; a file with other rows is set aside."""
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        """Those of the file as this logger has written it; none before it has."""
        rows, damaged = read_rows(path)
        self.rows: list[dict[str, Any]] = [row for row in rows if int(row["step"]) < resumed_step]
        """What is not written yet."""
        self.digest = digest_of(self.rows)
        """Of all rows, written or not."""
        if damaged or digest not in (None, self.digest):
            self._set_aside(resumed_step)

    @rank_zero_only
    def _set_aside(self, step: int) -> None:
        """Keep a damaged or foreign file under another name."""
        kept = f"; the file is kept as {set_aside(self.path).name}" if self.path.exists() else ""
        before = f"the {len(self.rows)} legible rows before step {step} are used" if self.rows else "it begins anew"
        send(Noted(f"{self.path}: not as this run wrote it: {before}{kept}"))

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
            self.digest = digest_of(self.rows[-1:], self.digest)

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that have come since the last time.

        Raises:
            UserError: the disk is full.
        """
        if not self.rows:
            return
        columns = list(dict.fromkeys([*self.columns, *(name for row in self.rows for name in row)]))
        if columns == self.columns:
            try:
                with self.path.open("ab") as file:
                    file.write(as_csv(self.rows, columns))
            except OSError as error:
                raise cannot_write(self.path, error) from error
        else:
            earlier = read_rows(self.path)[0] if self.columns else []
            with written(self.path) as temporary:
                temporary.write_bytes(as_csv([dict(zip(columns, columns, strict=True)), *earlier, *self.rows], columns))
        self.columns, self.rows = columns, []


def digest_of(rows: Iterable[Mapping[str, Any]], before: int = 0) -> int:
    """A checksum of rows, whatever the order of their columns and however empty others are; `before` is that of earlier rows."""
    for row in rows:
        text = ",".join(f"{name}={value}" for name, value in sorted(row.items()) if value != "")
        before = zlib.crc32(text.encode(), before)
    return before


def as_csv(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    """The rows as they stand in a file with these columns."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue().encode()
