"""Rows, ratios, and a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threefusion.perf.timing import Candidate, Timing

REFERENCE = "torch"
SIZES = {
    "batch": "batch", "resolution": "resolution", "points": "points", "samples": "samples kept", "mflop": "MFLOP",
    "weights": "weights kB", "threads": "threads",
}  # fmt: skip
"""Columns that a table has if any of its rows does, with their headings."""
RATIOS = {"ratio_to_torch": "x torch", "ratio_to_half": "/ half the batch"}


@dataclass
class Report:
    """What was measured, on which machine."""

    hardware: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """For programs; numbers rounded to five digits."""
        return {"hardware": self.hardware, "rows": rounded(self.rows)}

    def add(self, subject: str, threads: int, candidates: Sequence[Candidate], timings: Sequence[Timing]) -> None:
        """Add the rows of candidates that were timed together."""
        self.rows += [row | {"subject": subject, "threads": threads} for row in rows(candidates, timings)]


def rows(candidates: Sequence[Candidate], timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """One row per candidate.

    `ratio_to_torch` is torch's time over this one, above 1 is faster. `ratio_to_half` is this time over that of half the batch.
    """
    pairs = list(zip(candidates, timings, strict=True))
    median = {(one.name, one.case, *sorted(one.size.items())): timing.median for one, timing in pairs}
    batches = {(one.name, one.case, one.size.get("batch"), one.size.get("resolution")): t.median for one, t in pairs}
    table = []
    for one, timing in pairs:
        reference = median.get((REFERENCE, one.case, *sorted(one.size.items())))
        half = batches.get((one.name, one.case, one.size.get("batch", 0) / 2, one.size.get("resolution")))
        table.append(
            {
                "name": one.name,
                "case": one.case,
                **one.size,
                **one.counts,
                "ms": timing.median,
                "min_ms": timing.minimum,
                "ratio_to_torch": ratio(reference, timing.median),
                "ratio_to_half": ratio(timing.median, half),
                "phases": timing.phases,
            }
        )
    return table


def ratio(value: float | None, to: float | None) -> float | None:
    """value / to, or None where one of them is missing."""
    return None if value is None or not to else value / to


def rounded(value: Any) -> Any:
    """`value` with the floats in it rounded to five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def as_markdown(report: Report) -> str:
    """One table per subject."""
    subjects = dict.fromkeys(row["subject"] for row in report.rows)
    sections = [f"## {name}\n\n{table([row for row in report.rows if row['subject'] == name])}" for name in subjects]
    return "\n\n".join([described(report.hardware), *sections])


def described(hardware: dict[str, Any]) -> str:
    """The machine in a line."""
    names = [f"{hardware['device']}, {hardware['cores']} cores", f"torch {hardware['torch']}", f"numba {hardware['numba']}"]
    load = "" if hardware["load"] is None else f"; load {hardware['load']:.1f} at the beginning"
    clock = "processor time of one thread" if hardware["clock"] == "processor" else "wall time"
    return f"{'; '.join(names)}; OMP_WAIT_POLICY {hardware['omp_wait_policy']}{load}; {clock}."


def table(rows: list[dict[str, Any]], ratios: Mapping[str, str] = RATIOS) -> str:
    """A Markdown table of the columns that are not empty, padded so that it reads well as plain text."""
    sizes = {name: heading for name, heading in SIZES.items() if any(name in row for row in rows)}
    heads = ["case", *sizes.values(), "backend", "ms", "min", *ratios.values(), "phases (ms)"]
    cells = [heads, *(row_cells(row, sizes, ratios) for row in rows)]
    kept = [column for column, head in enumerate(heads) if any(line[column] for line in cells[1:]) or head == "case"]
    cells = [[line[column] for column in kept] for line in cells]
    widths = [max(len(line[column]) for line in cells) for column in range(len(kept))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def row_cells(row: dict[str, Any], sizes: Mapping[str, str], ratios: Mapping[str, str]) -> list[str]:
    """The cells of one row: operation, sizes, backend, times, ratios, phases."""
    compared = ["" if row[name] is None else f"{row[name]:.2f}" for name in ratios]
    phases = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in row["phases"].items())
    amounts = [f"{row[name]:,}" if name in row else "" for name in sizes]
    return [row["case"], *amounts, row["name"], f"{row['ms']:.2f}", f"{row['min_ms']:.2f}", *compared, phases]
