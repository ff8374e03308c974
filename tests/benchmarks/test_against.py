"""Comparison of two versions: each ratio is of neighbouring runs, and a failed run ends it with what it printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.against import Cost, neighbour, ratios, run


def test_a_ratio_is_the_median_over_neighbouring_runs() -> None:
    slowed, usual, even = (2.0, 4.0), (1.0, 4.0), (3.0, 3.0)
    pairs = [(Cost(here, 3.0, 1.0), Cost(there, 3.0, 2.0)) for here, there in (slowed, usual, even)]
    assert ratios(pairs) == Cost(wall=0.5, cpu=1.0, memory=0.5)


def test_a_run_costs_what_the_system_counted(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text("import time\nwhile time.process_time() < 0.2: bytearray(2**20)\ntime.sleep(0.2)\n")
    cost = run(tmp_path, [], tmp_path / "log")
    assert cost.wall > cost.cpu > 0.2 - 0.02
    assert cost.memory > 0.001


def test_a_failed_run_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text("raise SystemExit('no such prior')")
    with pytest.raises(SystemExit, match="no such prior"):
        run(tmp_path, ["train"], tmp_path / "log")


def test_the_busy_neighbour_leaves_with_the_measurement() -> None:
    with neighbour(busy=True) as spinning:
        assert spinning.poll() is None
    assert spinning.poll() is not None
    with neighbour(busy=False) as nobody:
        assert nobody is None
