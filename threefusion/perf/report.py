"""Rows, ratios, and a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from threefusion.perf.timing import Candidate, Timing
from threefusion.perf.work import Rates

REFERENCE = "torch"
SIZES = {"batch": "batch", "resolution": "resolution", "points": "points", "samples": "samples kept", "threads": "threads"}
"""Columns that a table has if any of its rows does, with their headings."""


@dataclass
class Report:
    """What was measured, on what."""

    hardware: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    rates: list[dict[str, Any]] = field(default_factory=list)
    """What the floors of the rows with the same subject and threads were made of."""

    def as_data(self) -> dict[str, Any]:
        """For programs; numbers rounded to five digits."""
        return {"hardware": self.hardware, "rates": rounded(self.rates), "rows": rounded(self.rows)}

    def add(self, subject: str, threads: int, candidates: Sequence[Candidate], timings: Sequence[Timing], rates: Rates) -> None:
        """Take in what was measured together."""
        about = {"subject": subject, "threads": threads}
        self.rates.append(about | asdict(rates))
        self.rows += [row | about for row in rows(candidates, timings, rates)]


def rows(candidates: Sequence[Candidate], timings: Sequence[Timing], rates: Rates) -> list[dict[str, Any]]:
    """One row per candidate.

    `ratio_to_torch` is torch's time over this one, above 1 is faster. `ratio_to_floor` is this time over its floor, 1 is the best
    there can be. `ratio_to_half` is this time over that of half the batch.
    """
    pairs = list(zip(candidates, timings, strict=True))
    median = {(one.name, one.case, *sorted(one.size.items())): timing.median for one, timing in pairs}
    batches = {(one.name, one.case, one.size.get("batch"), one.size.get("resolution")): t.median for one, t in pairs}
    found = []
    for one, timing in pairs:
        reference = median.get((REFERENCE, one.case, *sorted(one.size.items())))
        half = batches.get((one.name, one.case, one.size.get("batch", 0) / 2, one.size.get("resolution")))
        floor = one.work.floor_ms(rates)
        found.append(
            {
                "name": one.name,
                "case": one.case,
                **one.size,
                **one.found,
                "ms": timing.median,
                "min_ms": timing.least,
                "floor_ms": floor,
                "ratio_to_torch": ratio(reference, timing.median),
                "ratio_to_floor": ratio(timing.median, floor),
                "ratio_to_half": ratio(timing.median, half),
                "phases": timing.phases,
            }
        )
    return found


def ratio(value: float | None, to: float | None) -> float | None:
    """value / to, or nothing where one of them is missing."""
    return None if value is None or not to else value / to


def rounded(value: Any) -> Any:
    """`value` with the floats in it rounded to five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def as_markdown(report: Report) -> str:
    """Tables by subject, readable as plain text."""
    subjects = list(dict.fromkeys(row["subject"] for row in report.rows))
    return "\n\n".join([described(report.hardware), *(part for name in subjects for part in section(report, name))])


def described(hardware: dict[str, Any]) -> str:
    """The machine in a line."""
    names = [f"{hardware['device']}, {hardware['cores']} cores", f"torch {hardware['torch']}", f"numba {hardware['numba']}"]
    load = "" if hardware["load"] is None else f"; load {hardware['load']:.1f} at the beginning"
    counted = "processor time of one thread" if hardware["clock"] == "processor" else "wall time"
    return f"{'; '.join(names)}; OMP_WAIT_POLICY {hardware['omp_wait_policy']}{load}; {counted}."


def section(report: Report, subject: str) -> list[str]:
    """Heading, measured rates, table."""
    chosen = [row for row in report.rows if row["subject"] == subject]
    measured = [rate_line(rates) for rates in report.rates if rates["subject"] == subject]
    return [f"## {subject}", "\n".join(measured), table(chosen)]


def rate_line(rates: dict[str, Any]) -> str:
    """What the machine did while this was measured."""
    products = ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in rates["gemm"].items())
    memory = (
        f"gathers {rates['gather'] / 1e9:.2f} G/s, updates {rates['update'] / 1e9:.2f} G/s, copy {rates['copy'] / 1e9:.1f} GB/s"
    )
    threads = "1 thread" if rates["threads"] == 1 else f"{rates['threads']} threads"
    return f"- {threads}: {products}, {memory}"


def table(rows: list[dict[str, Any]]) -> str:
    """Cells padded, so that it can be read where it is not rendered."""
    sizes = {name: heading for name, heading in SIZES.items() if any(name in row for row in rows)}
    heads = ["case", *sizes.values(), "backend", "ms", "min", "x torch", "/ floor", "/ half the batch", "phases (ms)"]
    cells = [heads, *([*cell_start(row, sizes), *cell_end(row)] for row in rows)]
    kept = [place for place, head in enumerate(heads) if any(line[place] for line in cells[1:]) or head == "case"]
    cells = [[line[place] for place in kept] for line in cells]
    widths = [max(len(line[place]) for line in cells) for place in range(len(kept))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def cell_start(row: dict[str, Any], sizes: dict[str, str]) -> list[str]:
    """What was done, and how much of it."""
    return [row["case"], *(f"{row[name]:,}" if name in row else "" for name in sizes), row["name"]]


def cell_end(row: dict[str, Any]) -> list[str]:
    """How long it took, and what that is to be compared with."""
    ratios = ["" if row[name] is None else f"{row[name]:.2f}" for name in ("ratio_to_torch", "ratio_to_floor", "ratio_to_half")]
    phases = ", ".join(f"{name} {taken:.1f}" for name, taken in row["phases"].items())
    return [f"{row['ms']:.2f}", f"{row['min_ms']:.2f}", *ratios, phases]
