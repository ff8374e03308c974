"""The benchmark of damaged and killed runs: a sample of both, and that it can find fault."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import COMMANDS, DAMAGES, damage_cases, evenly, lost, verdict
from benchmarks.forked import HANGS, Ended

ANSWERS = [
    (Ended(0, "", ""), [], True, [], "the same"),
    (Ended(0, "", ""), [], False, [], "SILENTLY WRONG"),
    (Ended(0, "", ""), ["metrics.csv: damaged"], False, [], "remarked"),
    (Ended(2, "", ""), ["config.yaml: unknown"], False, [], "refused"),
    (Ended(2, "", ""), [], False, [], "REFUSED WITHOUT A NAME"),
    (Ended(1, "", ""), ["config.yaml"], True, [], "TRACEBACK"),
    (Ended(0, "", "Traceback (most"), ["config.yaml"], True, [], "TRACEBACK"),
    (Ended(-11, "", ""), [], True, [], "TRACEBACK"),
    (Ended(HANGS, "", ""), [], True, [], "HANGS"),
    (Ended(0, "", ""), ["mesh"], True, ["notes.txt"], "LOST NOTES.TXT"),
]


@pytest.mark.parametrize(("ended", "remarks", "same", "missing", "expected"), ANSWERS)
def test_answers_are_judged(ended: Ended, remarks: list[str], same: bool, missing: list[str], expected: str) -> None:
    assert verdict(ended, remarks, same, missing) == expected
    assert expected.isupper() == (expected not in ("the same", "remarked", "refused"))


def test_a_lost_file_is_found_also_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "notes.kept-1.txt").write_bytes(b"notes")
    assert lost(tmp_path, False) == ["mesh/mine.blend", "checkpoints/mine.ckpt", "images/mine.png"]
    assert "another's file" in lost(tmp_path, True)


def test_there_are_enough_cases_and_a_sample_is_spread_over_them() -> None:
    cases = damage_cases()
    assert len(cases) == len(set(cases)) >= 60
    assert {command for _, _, command in cases} == set(COMMANDS)
    assert set(DAMAGES) <= {kind for _, kind, _ in cases}
    assert evenly(cases, None) == cases and evenly(list(range(100)), 4) == [0, 25, 50, 75]


@pytest.mark.slow
def test_a_sample_is_answered_well() -> None:
    line = [sys.executable, "-m", "benchmarks.faults", "--cases", "2"]
    done = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"(?m)^(\w+): 2 cases, ", done.stdout) == ["damage", "kill"]
