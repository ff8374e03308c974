"""Checkpoints: which are kept."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytorch_lightning as pl

from threefusion.callback.snapshot import Snapshot


def test_the_lowest_steps_are_dropped_not_the_first_names(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    snapshot = Snapshot(tmp_path, 200, 2)
    for step in (999600, 999800, 1000000, 1000200):
        trainer = Mock(spec=pl.Trainer, global_step=step, is_global_zero=True, save_checkpoint=Path.touch)
        snapshot.save(trainer)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-1000000.ckpt", "step-1000200.ckpt"}
