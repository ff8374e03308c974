"""table.md: the report as Markdown. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from threefusion.bench.report import (
    EXPLANATION,
    LEVEL,
    Report,
    difference,
    headings,
    interval,
    numbers,
    probability,
    shared_cells,
)
from threefusion.bench.statistics import Comparison


def as_markdown(report: Report) -> str:
    """Means by variant, differences, then every cell."""
    parts = [f"# {report.plan.name}", f"{report.progress}. {EXPLANATION[0]}", _variants(report)]
    if report.comparisons:
        parts += ["## Differences", EXPLANATION[1], _differences(report)]
    parts += ["## Cells", _cells(report)]
    if report.remarks:
        parts += [
            "## Remarks",
            "\n".join(f"- {row.variant}, {row.prompt}, seed {row.seed}: {text}" for row, text in report.remarks),
        ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _variants(report: Report) -> str:
    rows = [
        [variant, report.finished(variant), *(interval(report.of_variant(variant, column)) for column in report.columns)]
        for variant in report.plan.variants
    ]
    return _table(["variant", "cells", *headings(report.columns)], rows)


def _differences(report: Report) -> str:
    rows = []
    for (first, second), comparisons in report.pairs().items():
        values = [_difference(comparisons[column]) if column in comparisons else "–" for column in report.compared]
        rows.append([f"{first} − {second}", shared_cells(comparisons.values()), *values])
    return _table(["variants", "cells", *headings(report.compared)], rows)


def _difference(comparison: Comparison) -> str:
    text = f"{difference(comparison)}, {probability(comparison)}"
    return f"**{text}**" if comparison.p_holm < LEVEL else text


def _cells(report: Report) -> str:
    rows = [[row.variant, row.prompt, str(row.seed), row.state, *numbers(row, report.columns)] for row in report.table.rows]
    return _table(["variant", "prompt", "seed", "", *headings(report.columns)], rows)
