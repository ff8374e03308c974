"""config.yaml of a run that is continued with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from threefusion.config import RunConfig
from threefusion.run.checkpoint import name_changes
from threefusion.run.folder import write_config


class KeepSettings(pl.Callback):
    """Writes the settings of a resumed run to its config.yaml, so that the next resume keeps them.

    Not before the checkpoint is loaded: settings that do not fit it would overwrite those that do.
    """

    def __init__(self, run: Path, config: RunConfig) -> None:
        self.run, self.config = run, config

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say what has changed since the checkpoint, be it on the command line or in config.yaml."""
        if trainer.is_global_zero:
            name_changes(module.config, checkpoint)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write them, on the first process."""
        if trainer.is_global_zero:
            write_config(self.run, self.config)
