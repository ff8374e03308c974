"""metrics.csv survives a resume."""

from __future__ import annotations

import csv
from pathlib import Path

from threefusion.callback import metrics
from threefusion.callback.metrics import CsvMetrics, as_csv


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


def test_rows_that_come_one_by_one_are_the_rows_that_come_together(tmp_path: Path) -> None:
    together, single = CsvMetrics(tmp_path / "together.csv", 0), CsvMetrics(tmp_path / "single.csv", 0)
    for step in range(6):
        metrics = {"loss": step / 3} | ({"orientation": 1.5} if step > 2 else {})
        for logger in (together, single):
            logger.log_metrics(metrics, step)
        single.save()
        assert not single.rows and len(read(single.path)) == step + 1
    together.save()
    together.save()
    assert single.path.read_bytes() == together.path.read_bytes()


def test_a_row_costs_as_much_as_the_first_however_many_there_are(tmp_path: Path, monkeypatch) -> None:
    written = []
    monkeypatch.setattr(metrics, "as_csv", lambda rows, columns: written.append(len(rows)) or as_csv(rows, columns))
    logger = CsvMetrics(tmp_path / "metrics.csv", 0)
    for step in range(100):
        logger.log_metrics({"loss": 1.0}, step)
        logger.save()
    # the first comes with the header
    assert written == [2] + [1] * 99


def test_a_row_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n8,0.5\n9,0.4\n")
    with path.open("a") as file:
        file.write("1")
    logger = CsvMetrics(path, 10)
    logger.log_metrics({"loss": 0.3}, 10)
    logger.save()
    assert [row["step"] for row in read(path)] == ["8", "9", "10"]
