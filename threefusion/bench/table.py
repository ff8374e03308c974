"""The results of the cells as rows of numbers. Loads no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threefusion.bench.folder import cell_folder
from threefusion.bench.plan import ATTEMPTS, Plan
from threefusion.machine.files import numbered
from threefusion.page.scores import numbers

USUAL_COLUMNS = (
    "text_image.r_precision",
    "truth.geometric_retrieval",
    "truth.silhouette_iou",
    "truth.volume_iou",
    "truth.skill",
    "truth.albedo_error",
    "pathology.janus",
    "cost.seconds",
)
"""Shown unless the benchmark says otherwise; those that no cell has are left out."""
COST = "cost."
"""Columns that begin so depend on the machine and on interruptions."""


@dataclass(frozen=True)
class Row:
    """One cell and its numbers."""

    variant: str
    prompt: str
    seed: int
    state: str
    """waiting, running, finished or failed."""
    reason: str | None
    """Why it failed, or what went wrong in a cell that finished nevertheless."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """By column, such as `truth.silhouette_iou`; missing where it could not be measured. True is 1."""
    picture: Path | None = None
    """Four sides and their normals."""
    folder: Path = Path()
    """The run folder."""

    @property
    def key(self) -> tuple[str, int]:
        """Prompt and seed, which cells of different variants share."""
        return self.prompt, self.seed


@dataclass(frozen=True)
class Table:
    """All cells of a benchmark."""

    rows: tuple[Row, ...]
    """By variant, prompt, seed, as the plan lists them."""

    @property
    def all_columns(self) -> list[str]:
        """Every column that some cell has, costs last."""
        names = dict.fromkeys(column for row in self.rows for column in row.numbers)
        return sorted(names, key=lambda column: column.startswith(COST))

    def count(self, state: str) -> int:
        """How many cells are in a state."""
        return sum(row.state == state for row in self.rows)

    def of(self, variant: str) -> list[Row]:
        """The rows of a variant."""
        return [row for row in self.rows if row.variant == variant]


def collect(plan: Plan, benchmark: Path) -> Table:
    """The table of all cells so far."""
    rows = []
    for cell in plan.cells:
        folder = cell_folder(benchmark, cell)
        record = folder.record()
        measured: dict[str, float] = {}
        if record.state == "finished":
            measured = {**numbers(folder.evaluation() or {}), ATTEMPTS: float(record.attempts)}
        pictures = numbered(folder.run / "images", "*.png")
        about = (cell.variant, cell.prompt, cell.seed, record.state, record.trouble)
        rows.append(Row(*about, measured, pictures[-1] if pictures else None, folder.run))
    return Table(tuple(rows))


def chosen_columns(plan: Plan, table: Table) -> list[str]:
    """The columns that are shown and compared."""
    if plan.columns:
        return list(plan.columns)
    known = table.all_columns
    return [column for column in USUAL_COLUMNS if column in known]


def as_csv(table: Table) -> str:
    """A row per cell with every column that was measured."""
    columns = table.all_columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["variant", "prompt", "seed", "state", "reason", *columns])
    for row in table.rows:
        about = [row.variant, row.prompt, row.seed, row.state, row.reason or ""]
        writer.writerow([*about, *cells_of(row, columns, "")])
    return text.getvalue()


def cells_of(row: Row, columns: Sequence[str], missing: Any) -> list[Any]:
    """A row's numbers in the order of `columns`; whole ones without a fraction."""
    values = [row.numbers.get(column) for column in columns]
    return [missing if value is None else int(value) if value.is_integer() else value for value in values]
