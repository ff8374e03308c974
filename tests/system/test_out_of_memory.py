"""A step that does not fit is retried in smaller chunks, and the run equals one that started with these."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.geometry.density_field import DensityField
from threefusion.machine.memory import is_out_of_memory, retry_on_oom
from threefusion.run.training import train

ROOT = Path(__file__).parents[2]
FAILURES = {
    "an accelerator": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the processor": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
    "Python": lambda: MemoryError(),
}


def limited(monkeypatch: pytest.MonkeyPatch, most: int, failure, when=lambda: True) -> None:
    """A geometry that cannot look at more than `most` samples together while it trains."""
    forward = DensityField.forward

    def awkward(self, points, normals, covariance=None):
        if torch.is_grad_enabled() and len(points) > most and when():
            raise failure()
        return forward(self, points, normals, covariance)

    monkeypatch.setattr(DensityField, "forward", awkward)


def steps(config: Path, out: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """Parameters and logged rows of a training of six steps: normals are needed from the fifth on."""
    for part in ("checkpoints", "images", "mesh"):
        (out / part).mkdir(parents=True)
    train(load_config(config, ["trainer.max_steps=6", "renderer.sampler.samples_per_ray=48", *overrides]), out)
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return torch.load(out / "checkpoints" / "step-000006.ckpt", weights_only=True)["state_dict"], rows


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("who", FAILURES)
def test_a_run_that_ran_out_of_memory_equals_one_that_began_with_the_smaller_chunk(who, tiny, tmp_path, monkeypatch, capfd):
    plain, plain_rows = steps(tiny, tmp_path / "plain", "renderer.samples_per_chunk=1100")
    capfd.readouterr()
    limited(monkeypatch, 1100, FAILURES[who])
    spared, rows = steps(tiny, tmp_path / "spared", "renderer.samples_per_chunk=4400")
    said = [line for line in capfd.readouterr().err.splitlines() if "memory" in line]
    assert said == [
        "out of memory: retrying with renderer.samples_per_chunk=2200 instead of 4400",
        "out of memory: retrying with renderer.samples_per_chunk=1100 instead of 2200",
    ]
    assert rows == plain_rows
    assert all(torch.equal(spared[name], plain[name]) for name in plain)


@pytest.mark.usefixtures("terminal")
def test_gradients_of_a_step_interrupted_on_its_way_back_are_dropped(tiny, tmp_path, monkeypatch, capfd):
    """It fails while a chunk is computed again, when later chunks have left their gradients already."""
    plain, rows = steps(tiny, tmp_path / "plain", "renderer.samples_per_chunk=1100")
    recomputed = []

    def second_on_the_way_back() -> bool:
        recomputed.append(torch._C._current_graph_task_id() != -1)
        return recomputed[-1] and sum(recomputed) == 2

    limited(monkeypatch, 1100, FAILURES["the processor"], second_on_the_way_back)
    spared, spared_rows = steps(tiny, tmp_path / "spared", "renderer.samples_per_chunk=2200")
    assert capfd.readouterr().err.count("out of memory") == 1
    assert spared_rows == rows
    assert all(torch.equal(spared[name], plain[name]) for name in plain)


def test_at_the_floor_the_message_says_what_to_lower(tiny, tmp_path, monkeypatch):
    limited(monkeypatch, 500, FAILURES["the processor"])
    with pytest.raises(UserError, match=r"cannot be halved again: it is down to 1\d\d\d\. Lower camera\.batch_size") as raised:
        steps(tiny, tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_a_step_of_several_micro_batches_is_an_error_in_one_line(tiny, tmp_path, monkeypatch):
    limited(monkeypatch, 1100, FAILURES["the processor"])
    with pytest.raises(UserError, match=r"^out of memory.*Lower renderer\.samples_per_chunk") as raised:
        steps(tiny, tmp_path / "run", "trainer.accumulate_grad_batches=2")
    assert "\n" not in str(raised.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny, tmp_path, monkeypatch):
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))
    limited(monkeypatch, 1100, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        steps(tiny, tmp_path / "run")


def test_nothing_of_a_failed_attempt_is_kept_while_the_next_one_is_prepared():
    import weakref

    left = []

    def attempt():
        large = torch.zeros(1000)
        left.append(weakref.ref(large))
        if len(left) < 3:
            raise MemoryError
        return large.sum()

    assert retry_on_oom(attempt, lambda: left[-1]() is None or pytest.fail("the traceback still holds it")) == 0
    assert len(left) == 3


IN_ONE_PROCESS = """
import os, sys, torch
from threefusion.cli.main import main
from threefusion.geometry.density_field import DensityField

forward = DensityField.forward
def awkward(self, points, normals, covariance=None):
    if torch.is_grad_enabled() and os.environ.get("LOCAL_RANK", "0") == sys.argv[1]:
        raise MemoryError
    return forward(self, points, normals, covariance)
DensityField.forward = awkward
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_none_waits_for_the_one_that_ran_out_of_memory(rank, tiny, tmp_path):
    script = tmp_path / "awkward.py"
    script.write_text(IN_ONE_PROCESS)
    words = [
        sys.executable,
        str(script),
        rank,
        "train",
        "--config",
        str(tiny),
        "--out",
        str(tmp_path / "run"),
        "trainer.devices=2",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert (
        "error: out of memory, and a step can only be retried in a run of one process. Lower renderer.samples_per_chunk"
        in done.stderr
    )
