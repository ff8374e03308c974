"""The rows of a metrics.csv. Loads neither torch nor Lightning."""

from __future__ import annotations

import csv
import io
from pathlib import Path


def read_rows(path: Path) -> tuple[list[dict[str, str]], bool]:
    """The rows of a metrics.csv, and whether something in it is none; its last line does not count, a crash may cut it short."""
    if not path.is_file():
        return [], path.exists()
    text = path.read_bytes().decode(errors="replace")
    try:
        columns, *lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    except (csv.Error, ValueError):
        return [], "\n" in text
    rows = [dict(zip(columns, line, strict=True)) for line in lines if len(line) == len(columns)]
    rows = [row for row in rows if is_row(row)]
    return rows, len(rows) < len(lines)


def is_row(row: dict[str, str]) -> bool:
    """Whether it has a step, and numbers or nothing."""
    try:
        return row.get("step", "").isdecimal() and all(value == "" or float(value) is not None for value in row.values())
    except ValueError:
        return False
