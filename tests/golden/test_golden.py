"""A short run still gives the numbers that were stored."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from measure import STORED, measure


@pytest.mark.slow
def test_golden_run(tmp_path: Path) -> None:
    got, stored = measure(tmp_path / "run"), json.loads(STORED.read_text())
    assert got == pytest.approx(stored, rel=0.05)
