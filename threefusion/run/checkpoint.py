"""Reading a run's checkpoints."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from threefusion.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; nothing in it is executed.

    Raises:
        UserError: it is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        earlier = sorted(other.name for other in path.parent.glob("step-*.ckpt") if other.name < path.name)
        advice = f"Remove it to go on from {earlier[-1]}" if earlier else "There is no earlier one"
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {reason}). {advice}") from error
