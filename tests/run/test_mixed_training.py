"""Whole runs in mixed precision: close to float32, float32 parameters, exact resumes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from threefusion.cli.main import run
from threefusion.ops.backend import backend


def train(out: Path, *arguments: str) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """Parameters of the scene and rows of the metrics at the end of a run in this process."""
    with backend("auto"):
        assert run(["train", *arguments]) == 0
    parameters = torch.load(sorted(out.rglob("*.ckpt"))[-1], weights_only=True)["state_dict"]
    return parameters, list(csv.DictReader((out / "metrics.csv").open()))


@pytest.mark.slow
@pytest.mark.parametrize("ops", ["torch", "numba"])
def test_mixed_precision_takes_nearly_the_same_steps_and_resumes_exactly(tiny: Path, tmp_path: Path, ops: str) -> None:
    small = [f"ops.backend={ops}", "geometry.encoding.levels=2", "renderer.sampler.resolution=8"]

    def start(name: str, *overrides: str) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
        return train(tmp_path / name, "--config", str(tiny), "--out", str(tmp_path / name), *small, *overrides)

    whole, exact = start("whole", "trainer.max_steps=4")
    mixed, rounded = start("mixed", "trainer.max_steps=4", "trainer.precision=bf16-mixed")
    start("parts", "trainer.max_steps=2", "trainer.precision=bf16-mixed")
    resumed, _ = train(tmp_path / "parts", "--resume", str(tmp_path / "parts"), "trainer.max_steps=4")
    assert all(mixed[name].dtype == value.dtype and torch.equal(mixed[name], resumed[name]) for name, value in whole.items())
    assert not all(torch.equal(mixed[name], value) for name, value in whole.items())
    for a, b in zip(exact, rounded, strict=True):
        assert all(float(b[name]) == pytest.approx(float(a[name]), rel=0.02) for name in ("grad_norm", "opacity", "t"))
