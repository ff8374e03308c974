"""A checkpoint holds all that happened before it, and only what is ours is dropped."""

from __future__ import annotations

import csv
import signal
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch

from threefusion.callback.snapshot import Interrupt, Snapshot
from threefusion.config import load_config
from threefusion.messages import Message, Stopping
from threefusion.run.trainer import make_trainer, silence_libraries
from threefusion.system.build import build_system


class Stopped(RuntimeError):
    pass


def test_rows_before_a_checkpoint_are_written_before_it(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    silence_libraries()
    save = Snapshot.save

    def deadly(self, trainer):
        save(self, trainer)
        raise Stopped

    monkeypatch.setattr(Snapshot, "save", deadly)
    config = load_config(tiny, ["trainer.log_every_n_steps=5"])
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(Stopped):
        make_trainer(config, tmp_path, [], 0).fit(build_system(config))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000005.ckpt"]
    assert [row["step"] for row in csv.DictReader((tmp_path / "metrics.csv").open())] == ["4"]


def test_foreign_checkpoints_are_left_alone(tiny: Path, tmp_path: Path) -> None:
    silence_libraries()
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    foreign = {"step-000000.ckpt", "step-000000-mine.ckpt", "step-best.ckpt", "other.ckpt", "step-000001.tmp"}
    for name in foreign:
        (folder / name).touch()
    config = load_config(tiny, ["output.checkpoint_interval=1", "output.keep_checkpoints=1"])
    make_trainer(config, tmp_path, [], 0).fit(build_system(config))
    assert {path.name for path in folder.iterdir()} == foreign | {"step-000012.ckpt"}


def test_the_lowest_steps_are_dropped_not_the_first_names(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    snapshot = Snapshot(tmp_path, 200, 2)
    for step in (999600, 999800, 1000000, 1000200):
        trainer = Mock(spec=pl.Trainer, global_step=step, is_global_zero=True, save_checkpoint=partial(torch.save, {}))
        trainer.lightning_module, trainer.optimizers = pl.LightningModule(), [torch.optim.Adam([torch.zeros(1)])]
        snapshot.save(trainer)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-1000000.ckpt", "step-1000200.ckpt"}


@pytest.mark.parametrize("is_first", [True, False])
def test_one_of_several_processes_says_that_it_stops(heard: list[Message], is_first: bool) -> None:
    interrupt, trainer, module = Interrupt(), Mock(spec=pl.Trainer, is_global_zero=is_first), pl.LightningModule()
    interrupt.on_train_start(trainer, module)
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        interrupt.teardown(trainer, module, "fit")
    assert interrupt.requested and heard == [Stopping()] * is_first


def test_what_a_killed_process_did_not_drop_is_dropped_although_nothing_is_trained(tiny: Path, tmp_path: Path) -> None:
    silence_libraries()
    (tmp_path / "checkpoints").mkdir()
    config = load_config(tiny, ["output.checkpoint_interval=4", "output.keep_checkpoints=2"])
    make_trainer(config, tmp_path, [], 0).fit(build_system(config))
    newest = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    torch.save({}, tmp_path / "checkpoints" / "step-000004.ckpt")
    last = tmp_path / "checkpoints" / newest[-1]
    make_trainer(config, tmp_path, [], 12).fit(build_system(config), ckpt_path=last, weights_only=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == newest
