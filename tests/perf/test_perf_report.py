"""Ratios from known times, the form of the JSON, the table."""

from __future__ import annotations

import json

import pytest

from threefusion.perf.report import Report, as_markdown, table
from threefusion.perf.timing import Candidate, Timing, plain

PHASES = {"render": 4.0, "backward": 6.0}
HARDWARE = {
    "device": "a processor",
    "cores": 2,
    "torch": "2",
    "numba": None,
    "omp_wait_policy": "PASSIVE",
    "load": 0.5,
    "clock": "wall",
}


def candidate(name: str, case: str = "forward", **size: int) -> Candidate:
    return Candidate(name, case, size, plain(lambda: None), {"samples": 7})


@pytest.fixture
def report() -> Report:
    found = Report(HARDWARE)
    candidates = [
        candidate("torch", batch=1, resolution=64),
        candidate("numba", batch=1, resolution=64),
        candidate("torch", batch=2, resolution=64),
        candidate("numba", batch=2, resolution=64),
        candidate("numba", "alone", batch=2, resolution=64),
    ]
    timings = [Timing(40.0, 30.0), Timing(10.0, 9.0, PHASES), Timing(90.0, 80.0), Timing(25.0, 24.0), Timing(5.0, 5.0)]
    found.add("step", 1, candidates, timings)
    return found


def test_ratios(report: Report) -> None:
    torch, numba, larger_torch, larger_numba, alone = report.as_data()["rows"]
    assert torch["ratio_to_torch"] == larger_torch["ratio_to_torch"] == 1
    assert (numba["ratio_to_torch"], larger_numba["ratio_to_torch"], alone["ratio_to_torch"]) == (4, 3.6, None)
    assert (numba["ratio_to_half"], larger_numba["ratio_to_half"], larger_torch["ratio_to_half"]) == (None, 2.5, 2.25)


def test_the_same_work_with_other_threads_is_compared_among_itself(report: Report) -> None:
    report.add("step", 2, [candidate("torch", batch=1), candidate("numba", batch=1)], [Timing(8.0, 8.0), Timing(4.0, 4.0)])
    rows = report.as_data()["rows"]
    assert [row["threads"] for row in rows] == [1] * 5 + [2] * 2
    assert rows[-1]["ratio_to_torch"] == 2


def test_json(report: Report) -> None:
    data = json.loads(json.dumps(report.as_data()))
    assert set(data) == {"hardware", "rows"}
    assert data["rows"][1] == {
        "name": "numba",
        "case": "forward",
        "batch": 1,
        "resolution": 64,
        "samples": 7,
        "ms": 10,
        "min_ms": 9,
        "ratio_to_torch": 4,
        "ratio_to_half": None,
        "phases": {"render": 4.0, "backward": 6.0},
        "subject": "step",
        "threads": 1,
    }


def test_table_has_the_columns_that_something_is_in(report: Report) -> None:
    head, rule, _, numba, *_ = table(report.rows).splitlines()
    columns = [text.strip() for text in head.strip("|").split("|")]
    assert columns == [
        *("case", "batch", "resolution", "samples kept", "threads", "backend", "ms", "min"),
        *("x torch", "/ half the batch", "phases (ms)"),
    ]
    assert [text.strip() for text in numba.strip("|").split("|")] == [
        *("forward", "1", "64", "7", "1", "numba", "10.00", "9.00", "4.00", "", "render 4.0, backward 6.0")
    ]
    assert len(head) == len(rule) == len(numba)
    page = as_markdown(report)
    assert page.startswith(
        "a processor, 2 cores; torch 2; numba None; OMP_WAIT_POLICY PASSIVE; load 0.5 at the beginning; wall time."
    )
