"""metrics.csv survives a resume."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from threefusion.callback import metrics
from threefusion.callback.metrics import CsvMetrics, as_csv, digest_of
from threefusion.callback.rows import read_rows
from threefusion.errors import UserError


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


ROWS = b"step,loss\n0,0.5\n1,0.4\n2,0.3\n"
DAMAGED = {
    "foreign": (b"name,age\nann,3\nbob,4\n", []),
    "not text": (b"\x00\xff\xfe\n\x80\n", []),
    "a huge field": (b'step,loss\n"' + b"x" * 200_000 + b'"\n', []),
    "no header": (b"0,0.5\n1,0.4\n", []),
    "a row without a step": (ROWS.replace(b"1,0.4", b"x,0.4"), ["0", "2"]),
    "a row that is too short": (ROWS.replace(b"1,0.4", b"1"), ["0", "2"]),
    "a number that is none": (ROWS.replace(b"0.4", b"0.4.1"), ["0", "2"]),
    "another number": (ROWS.replace(b"0.4", b"0.6"), ["0", "1", "2"]),
    "a row that is missing": (ROWS.replace(b"1,0.4\n", b""), ["0", "2"]),
    "empty lines": (ROWS.replace(b"\n1", b"\n\n\n1"), ["0", "1", "2"]),
}


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_set_aside_and_its_legible_rows_are_used(tmp_path: Path, damage: str, capsys) -> None:
    path, (content, steps) = tmp_path / "metrics.csv", DAMAGED[damage]
    path.write_bytes(ROWS)
    digest = CsvMetrics(path, 3).digest
    path.write_bytes(content)
    logger = CsvMetrics(path, 3, digest)
    logger.log_metrics({"loss": 0.2}, 3)
    logger.save()
    assert [row["step"] for row in read(path)] == [*steps, "3"]
    assert (tmp_path / "metrics.kept-1.csv").read_bytes() == content
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("terminal")
def test_a_folder_in_its_place_is_set_aside(tmp_path: Path, capsys) -> None:
    path = tmp_path / "metrics.csv"
    path.mkdir()
    path.joinpath("mine").touch()
    logger = CsvMetrics(path, 3)
    logger.log_metrics({"loss": 0.2}, 3)
    logger.save()
    assert len(read(path)) == 1 and (tmp_path / "metrics.kept-1.csv" / "mine").exists()
    assert "metrics.kept-1.csv" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_lost_file_is_reported(tmp_path: Path, capsys) -> None:
    CsvMetrics(tmp_path / "metrics.csv", 3, digest=7)
    assert capsys.readouterr().err == f"{tmp_path}/metrics.csv: not as this run wrote it: it begins anew\n"


@pytest.mark.usefixtures("terminal")
def test_an_intact_file_is_recognised_also_after_a_new_column(tmp_path: Path, capsys) -> None:
    path = tmp_path / "metrics.csv"
    first = CsvMetrics(path, 0)
    for step in range(3):
        first.log_metrics({"loss": step / 7}, step)
    first.save()
    digest = first.digest
    first.log_metrics({"loss": 1.0, "orientation": 2.0}, 3)
    first.save()
    second = CsvMetrics(path, 3, digest)
    assert second.digest == digest and not capsys.readouterr().err
    assert digest_of(read_rows(path)[0]) == first.digest
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_by_the_file(tmp_path: Path, monkeypatch) -> None:
    logger = CsvMetrics(tmp_path / "metrics.csv", 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    for write in ("write_bytes", "open"):
        monkeypatch.setattr(Path, write, full)
        logger.log_metrics({"loss": 1.0}, 0)
        with pytest.raises(UserError, match=r"metrics\.csv: cannot be written \(No space left on device\)"):
            logger.save()
        monkeypatch.undo()
        logger.save()
        assert list(tmp_path.iterdir()) == [logger.path]
