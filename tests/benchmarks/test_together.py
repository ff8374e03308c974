"""What runs gain by sharing a process: both sides train the same prompts, and the costs of single runs are added up."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from benchmarks import together
from benchmarks.against import Cost


def test_both_sides_train_the_same_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(tree: Path, command: list[str], log: Path) -> Cost:
        calls.append((tree, command))
        return Cost(wall=2.0, cpu=1.0, memory=float(len(calls)))

    monkeypatch.setattr(together, "run", run)
    options = argparse.Namespace(prompts=2, seeds=3, overrides=["seed=1"])
    together.at_once(tmp_path / "all", options)
    assert together.one_by_one(tmp_path / "each", options) == Cost(wall=4.0, cpu=2.0, memory=3.0)
    (_, at_once), *each = calls
    listed = (tmp_path / "all" / "prompts.txt").read_text().splitlines()
    assert [words[words.index("--prompt") + 1] for _, words in each] == listed == list(together.PROMPTS[:2])
    assert all(words[-1] == "seed=1" for _, words in calls) and at_once[0] == "train"
    together.bench(tmp_path / "tree", tmp_path / "cells", options)
    plan = yaml.safe_load((tmp_path / "cells" / "cells.yaml").read_text())
    assert (calls[-1][0], plan["config"]) == (tmp_path / "tree", str(tmp_path / "tree" / "configs" / "quickstart.yaml"))
    assert (plan["prompts"], plan["seeds"]) == (listed, [0, 1, 2])
