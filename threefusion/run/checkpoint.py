"""Reading a run's checkpoints, and scenes from them."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import torch

from threefusion.config import RunConfig, changes, config_to_yaml
from threefusion.errors import UserError, first_line
from threefusion.machine.files import numbered
from threefusion.messages import Noted, send
from threefusion.run.folder import latest_checkpoint
from threefusion.system.scene import build_scene, restore_scene

if TYPE_CHECKING:
    from threefusion.renderer.renderer import Renderer
    from threefusion.system.start import Source
    from threefusion.types import Scene

PARTS = {"state_dict", "optimizer_states", "batches_seen", "metrics", "metrics_digest", "config"}
"""What a training needs to go on from a checkpoint."""


def load_stage(config: RunConfig, folder: Path, previous: Source | None) -> tuple[Scene, Renderer] | None:
    """Scene and renderer of a stage (or a run without stages) from its newest checkpoint, None if it has none.

    `previous` is the stage before.
    """
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return None
    scene, renderer = build_scene(config, previous, restoring=True)
    content = read_checkpoint(checkpoint)
    name_changes(config, content)
    restore_scene(scene, renderer, content["state_dict"])
    return scene.requires_grad_(False), renderer


def name_changes(config: RunConfig, checkpoint: dict[str, Any]) -> None:
    """Print which settings were others when a checkpoint was written: the config file may be damaged."""
    changed = changes(checkpoint["config"], config_to_yaml(config)) if "config" in checkpoint else []
    if changed:
        send(Noted(f"config.yaml: since step {checkpoint['global_step']}, {'; '.join(changed)}"))


def read_checkpoint(path: Path, parts: Collection[str] = ("state_dict",)) -> dict[str, Any]:
    """The content of a checkpoint, which has these parts, on the CPU; nothing in it is executed, and all checksums are verified.

    Raises:
        UserError: it is damaged.
    """
    try:
        # torch writes checksums and reads past them
        with ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise BadZipFile(f"bad checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if missing := set(parts) - set(content if isinstance(content, dict) else ()):
            raise ValueError(f"no checkpoint of this version: it has no {min(missing)!r}")
        return content
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, UnpicklingError, BadZipFile, zlib.error) as error:
        others = numbered(path.parent, "step-*.ckpt")
        earlier = others[: others.index(path)]
        advice = f"Remove it to go on from {earlier[-1].name}" if earlier else "There is no earlier one"
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {first_line(error)}). {advice}") from error
