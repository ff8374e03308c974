"""Damaged metrics, checkpoints and reports are refused in one line or read as far as they are whole; never anything else."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from threefusion.callback.metrics import CsvMetrics
from threefusion.callback.rows import read_rows
from threefusion.errors import UserError
from threefusion.run.checkpoint import read_checkpoint
from threefusion.run.folder import read_report

CELLS = st.sampled_from(
    ["step", "loss", "", "0", "7", "-1", "1.5", "nan", "1e400", '"', '"\n', "²", "\0", "\ufeffstep"]
) | st.text(max_size=4)
JSON = st.recursive(
    st.none() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())
TABLES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=6).map("\n".join)


@given(TABLES.map(str.encode) | st.binary(max_size=60), st.booleans(), st.integers(0, 9))
def test_any_metrics_file_is_continued_with_the_rows_that_are_rows(content: bytes, ended: bool, step: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.csv"
        path.write_bytes(content + b"\n" * ended)
        kept = [row for row in read_rows(path)[0] if int(row["step"]) < step]
        metrics = CsvMetrics(path, step)
        metrics.log_metrics({"loss": 1.0}, step)
        metrics.save()
        rows, damaged = read_rows(path)
        assert not damaged
        assert [int(row["step"]) for row in rows] == [*(int(row["step"]) for row in kept), step]
        assert rows[-1]["loss"] == "1"


CONTENT = {"state_dict": {"weight": torch.arange(300.0), "bias": torch.ones(3)}, "global_step": 10}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "step-000010.ckpt"
    torch.save(CONTENT, path)
    return path


@given(st.data())
def test_a_checkpoint_is_read_as_written_or_refused(checkpoint: Path, data: st.DataObject) -> None:
    content = bytearray(checkpoint.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "end", "add"])):
        case "flip":
            content[where] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[where : where + data.draw(st.integers(1, 200))]
        case "end":
            del content[where:]
        case "add":
            content[where:where] = data.draw(st.binary(min_size=1, max_size=20))
    damaged = checkpoint.with_name("step-000020.ckpt")
    damaged.write_bytes(content)
    try:
        read = read_checkpoint(damaged)
    except UserError as refusal:
        assert str(damaged) in str(refusal)
        assert len(str(refusal).splitlines()) == 1
    else:  # padding between the entries of the archive
        assert read["global_step"] == CONTENT["global_step"]
        assert all(torch.equal(read["state_dict"][name], value) for name, value in CONTENT["state_dict"].items())


@given(st.binary(max_size=60) | JSON)
def test_any_report_is_an_object_or_none(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "report.json").write_bytes(content)
        report = read_report(Path(folder))
        assert report is None or isinstance(report, dict)
