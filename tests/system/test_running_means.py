"""Rows of metrics.csv are means over the steps since the last row."""

from __future__ import annotations

import csv

import pytest
import pytorch_lightning as pl
import torch

from threefusion.callback.snapshot import Interrupt
from threefusion.config import load_config
from threefusion.run.trainer import make_trainer, silence_libraries
from threefusion.system.build import build_system
from threefusion.system.metrics import RunningMeans


def test_each_number_is_averaged_over_the_steps_that_had_it():
    means = RunningMeans()
    assert means.take() == {}
    means.add({"loss": torch.tensor(1.0), "late": torch.tensor(5)})
    means.add({"loss": torch.tensor(2.0, dtype=torch.float64, requires_grad=True)})
    assert means.take() == {"loss": 1.5, "late": 5}
    assert means.take() == {}


class Kept(pl.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_row_is_the_mean_since_the_row_before(tiny, tmp_path, accumulate):
    silence_libraries()
    steps = ["trainer.max_steps=7", "trainer.log_every_n_steps=3", f"trainer.accumulate_grad_batches={accumulate}"]
    config = load_config(tiny, steps)
    trainer = make_trainer(config, tmp_path, [Interrupt()], 0)
    kept = Kept()
    trainer.callbacks[:] = [kept]
    trainer.fit(build_system(config))
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["step"] for row in rows] == ["2", "5"]
    means = torch.tensor(kept.losses).reshape(7, -1).mean(1)[:6].reshape(2, 3).mean(1)
    assert [float(row["loss"]) for row in rows] == pytest.approx(means.tolist(), rel=1e-4)
