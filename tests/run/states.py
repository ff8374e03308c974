"""What checkpoints hold."""

from __future__ import annotations

from pathlib import Path

import torch

from threefusion.run.folder import latest_checkpoint


def is_same(one: Path, other: Path) -> bool:
    """Whether the newest checkpoints of two folders hold the same parameters and buffers."""
    expected, got = (torch.load(latest_checkpoint(folder), weights_only=True)["state_dict"] for folder in (one, other))
    return expected.keys() == got.keys() and all(torch.equal(expected[name], got[name]) for name in expected)
