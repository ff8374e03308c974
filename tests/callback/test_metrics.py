"""metrics.csv survives a resume."""

from __future__ import annotations

import csv
from pathlib import Path

from threefusion.callback.metrics import CsvMetrics


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_after_the_resumed_step_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = CsvMetrics(path, 0)
    for step in range(5):
        first.log_metrics({"loss": float(step), "epoch": 0.0}, step)
    first.save()
    second = CsvMetrics(path, 3)
    second.log_metrics({"loss": 30.0, "opacity": 0.5}, 3)
    second.save()
    rows = read(path)
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["loss"] for row in rows] == ["0", "1", "2", "30"]
    assert [row["opacity"] for row in rows] == ["", "", "", "0.5"]
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_logged_writes_nothing(tmp_path: Path) -> None:
    CsvMetrics(tmp_path / "metrics.csv", 0).save()
    assert not list(tmp_path.iterdir())
