"""Reading a run's checkpoints, and scenes from them."""

from __future__ import annotations

import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import torch

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.machine.files import numbered
from threefusion.run.folder import latest_checkpoint
from threefusion.system.scene import build_scene, restore_scene

if TYPE_CHECKING:
    from threefusion.renderer.renderer import Renderer
    from threefusion.types import Scene


def load_stage(config: RunConfig, folder: Path, previous: Scene | None) -> tuple[Scene, Renderer] | None:
    """Scene and renderer of a stage (or a run without stages) from its newest checkpoint, None if it has none.

    `previous` is the scene of the stage before.
    """
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return None
    scene, renderer = build_scene(config, previous)
    restore_scene(scene, renderer, read_checkpoint(checkpoint)["state_dict"])
    return scene.requires_grad_(False), renderer


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; nothing in it is executed, and the checksums of all its parts are verified.

    Raises:
        UserError: it is damaged.
    """
    try:
        # torch writes checksums and reads past them
        with ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise BadZipFile(f"bad checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, UnpicklingError, BadZipFile, zlib.error) as error:
        reason = str(error).strip().partition("\n")[0]
        others = numbered(path.parent, "step-*.ckpt")
        earlier = others[: others.index(path)]
        advice = f"Remove it to go on from {earlier[-1].name}" if earlier else "There is no earlier one"
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {reason}). {advice}") from error
