"""Benchmarks whose cells take a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def plan_file(tmp_path: Path, tiny: Path) -> Callable[..., Path]:
    """Writes a benchmark of the tiny run with two variants; keyword arguments replace its lines."""

    def write(**lines: str) -> Path:
        path = tmp_path / "compare.yaml"
        whole = {
            "config": str(tiny),
            "variants": "{slow: {}, fast: {overrides: [optimizer.lr=0.02]}}",
            "prompts": "[a red ball, a blue cube]",
            "seeds": "[0, 1]",
            "threads": "1",
            **lines,
        }
        path.write_text("".join(f"{key}: {value}\n" for key, value in whole.items()), encoding="utf-8")
        return path

    return write
