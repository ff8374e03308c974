"""A table with its statistics, and the formatting of numbers. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threefusion.bench.plan import Plan
from threefusion.bench.statistics import Comparison, Estimate, by_prompt, compare, estimate
from threefusion.bench.table import Row, Table, chosen_columns, collect
from threefusion.page.scores import number

LEVEL = 0.05
"""Corrected p below which a difference is significant."""


@dataclass(frozen=True)
class Report:
    """The content of the table files."""

    plan: Plan
    table: Table
    columns: list[str]
    comparisons: list[Comparison]

    def of_variant(self, variant: str, column: str) -> Estimate | None:
        """A variant's mean over all prompts and seeds."""
        return estimate(by_prompt(self.table.of(variant), column))

    def finished(self, variant: str) -> str:
        """Finished cells of a variant, such as 3/4."""
        rows = self.table.of(variant)
        return f"{sum(row.state == 'finished' for row in rows)}/{len(rows)}"

    @property
    def progress(self) -> str:
        """The progress of the benchmark, in words."""
        table = self.table
        parts = [f"{table.count('finished')} of {len(table.rows)} cells finished"]
        parts += [f"{count} {state}" for state in ("failed", "running", "waiting") if (count := table.count(state))]
        return ", ".join(parts)

    def pairs(self) -> dict[tuple[str, str], dict[str, Comparison]]:
        """The comparisons by pair of variants, then by column."""
        pairs: dict[tuple[str, str], dict[str, Comparison]] = {}
        for comparison in self.comparisons:
            pairs.setdefault((comparison.first, comparison.second), {})[comparison.column] = comparison
        return pairs

    @property
    def compared(self) -> list[str]:
        """The columns in which variants are compared."""
        return list(dict.fromkeys(comparison.column for comparison in self.comparisons))

    @property
    def remarks(self) -> list[str]:
        """What went wrong in cells that failed, or finished nevertheless."""
        return [f"{row.variant}, {row.prompt}, seed {row.seed}: {row.reason}" for row in self.table.rows if row.reason]


def make_report(plan: Plan, benchmark: Path) -> Report:
    """The report of all cells so far."""
    table = collect(plan, benchmark)
    columns = chosen_columns(plan, table)
    return Report(plan, table, columns, compare(table, plan.variants, columns, plan.baseline))


def as_data(report: Report, folder: Path) -> dict[str, Any]:
    """The report for programs."""
    estimates = {
        variant: {column: asdict(mean) for column in report.columns if (mean := report.of_variant(variant, column)) is not None}
        for variant in report.plan.variants
    }
    rows = [
        {
            **{name: getattr(row, name) for name in ("variant", "prompt", "seed", "state", "reason")},
            "run": str(row.folder),
            "numbers": dict(row.numbers),
        }
        for row in report.table.rows
    ]
    return {
        "name": report.plan.name,
        "folder": str(folder),
        "columns": report.columns,
        "cells": rows,
        "variants": estimates,
        "comparisons": [asdict(comparison) for comparison in report.comparisons],
    }


def numbers(row: Row, columns: Sequence[str]) -> list[str]:
    """A cell's numbers in the order of the columns."""
    return [number(row.numbers[column]) if column in row.numbers else "–" for column in columns]


def interval(value: Estimate | None) -> str:
    """`mean ± half width`."""
    if value is None:
        return "–"
    return number(value.mean) + ("" if value.half_width is None else f" ± {number(value.half_width, value.mean)}")


def short(column: str) -> str:
    """A column's heading: `truth.silhouette_iou` as `silhouette iou`."""
    return column.partition(".")[2].replace("_", " ") or column


def headings(columns: Sequence[str]) -> list[str]:
    """Short headings; where two would be the same, whole ones: `truth silhouette iou`, `fidelity silhouette iou`."""
    names = [short(column) for column in columns]
    return [
        name if names.count(name) == 1 else column.replace(".", " ").replace("_", " ")
        for name, column in zip(names, columns, strict=True)
    ]


def shared_cells(comparisons: Iterable[Comparison]) -> str:
    """Over how many cells two variants were compared, from the fewest to the most."""
    counts = sorted({comparison.count for comparison in comparisons})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


class Significant(str):
    """A cell of a table that stands out."""


@dataclass(frozen=True)
class Section:
    """One table of the pages."""

    title: str
    explanation: str
    heads: list[str]
    rows: list[list[str]]
    words: int
    """How many of the first columns hold words."""


def sections(report: Report) -> list[Section]:
    """Means by variant, differences between variants if there are several, then every cell."""
    heads = headings(report.columns)
    means = [
        [variant, report.finished(variant), *(interval(report.of_variant(variant, column)) for column in report.columns)]
        for variant in report.plan.variants
    ]
    differences = [
        [
            f"{first} − {second}",
            shared_cells(comparisons.values()),
            *(difference(comparisons.get(column)) for column in report.compared),
        ]
        for (first, second), comparisons in report.pairs().items()
    ]
    cells = [[row.variant, row.prompt, str(row.seed), row.state, *numbers(row, report.columns)] for row in report.table.rows]
    found = [
        Section("Variants", MEANS, ["variant", "cells", *heads], means, 1),
        Section("Differences", DIFFERENCES, ["variants", "cells", *headings(report.compared)], differences, 1),
        Section("Cells", "", ["variant", "prompt", "seed", "", *heads], cells, 4),
    ]
    return [section for section in found if section.rows]


def difference(value: Comparison | None) -> str:
    """A difference with its sign and the comparison's corrected p."""
    if value is None:
        return "–"
    probability = "p < 0.001" if value.p_holm < 0.001 else f"p {value.p_holm:.3f}"
    text = f"{value.difference:+.3f}, {probability}".replace("-", "−")
    return Significant(text) if value.p_holm < LEVEL else text


MEANS = "Means over prompts and seeds ± 95 % interval over seeds (Student's t, the prompts fixed)."
DIFFERENCES = (
    "Mean difference over the (prompt, seed) cells that both variants have; p of the exact paired sign-flip test, "
    "corrected for the number of comparisons (Holm)."
)
"""How to read the tables."""
