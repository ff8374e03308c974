"""The pool on this machine: who gets which GPU or how many cores, and that nothing outlives it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cell import COMMAND, at_work

from threefusion.bench.benchmark import run_benchmark
from threefusion.bench.executor import Job
from threefusion.bench.folder import cell_folder
from threefusion.bench.local import LocalExecutor, visible_gpus, workers
from threefusion.bench.plan import load_plan
from threefusion.run.folder import read_report


def test_each_worker_has_its_gpu_or_its_share_of_cores(
    plan_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threefusion.bench.local.cores", lambda: 7)
    monkeypatch.setattr("threefusion.bench.local.visible_gpus", lambda: [])
    assert workers(None, 2) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert workers(None, 9) == [{"OMP_NUM_THREADS": "9"}]
    monkeypatch.setattr("threefusion.bench.local.visible_gpus", lambda: ["4", "6"])
    assert [worker["CUDA_VISIBLE_DEVICES"] for worker in workers(None, 2)] == ["4", "6"]
    assert [worker["CUDA_VISIBLE_DEVICES"] for worker in workers(3, 2)] == ["4", "6", "4"]
    run_benchmark(load_plan(plan_file(seeds="[0]"), []), tmp_path / "out", LocalExecutor(workers(None, 5)), command=COMMAND)
    used = {
        tuple(line.split()[1:]) for log in tmp_path.glob("out/cells/*/*/run/steps.log") for line in log.read_text().splitlines()
    }
    assert used == {("5", "4"), ("5", "6")}


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8f3c")
    assert visible_gpus() == ["2", "GPU-8f3c"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]


def test_closing_the_iterator_stops_what_runs(tmp_path: Path) -> None:
    job = Job("sleep", (sys.executable, "-c", f"import time; time.sleep(60) # {tmp_path}"), tmp_path / "log", tmp_path)
    short = Job("short", (sys.executable, "-c", "pass"), tmp_path / "log", tmp_path)
    ending = LocalExecutor([{}, {}]).submit([job, short])
    assert next(ending).job == short
    assert at_work(tmp_path)
    ending.close()
    assert at_work(tmp_path) == []


def test_cells_share_a_process_until_one_fails(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    def processes(out: str, *prompts: str) -> list[int]:
        plan = load_plan(plan_file(variants="{slow: {}}", seeds="[0]", prompts=f"[{', '.join(prompts)}]"), [])
        run_benchmark(plan, tmp_path / out, LocalExecutor([{}]), command=COMMAND)
        return [read_report(cell_folder(tmp_path / out, cell).run)["process"] for cell in plan.cells]

    assert len(set(processes("shared", "a ball", "a cube", "a cone"))) == 1
    first, empty, last = processes("renewed", "a ball", "a ball that is empty", "a cube")
    assert first == empty != last


def test_a_worker_that_is_killed_loses_only_its_cell(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    prompts = "[a red ball, a ball that kills its worker, a blue cube]"
    plan = load_plan(plan_file(variants="{slow: {}}", seeds="[0]", prompts=prompts), [])
    run_benchmark(plan, tmp_path / "out", LocalExecutor([{}]), command=COMMAND)
    records = [cell_folder(tmp_path / "out", cell).record() for cell in plan.cells]
    assert [record.state for record in records] == ["finished", "failed", "finished"]
    assert records[1].reason.startswith("the cell's process ended with exit code -9")
    assert at_work(tmp_path) == []
