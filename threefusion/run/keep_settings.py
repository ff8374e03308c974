"""config.yaml of a run whose settings change: when it is continued with others, or while it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from threefusion.config import RunConfig
from threefusion.run.checkpoint import name_changes
from threefusion.run.folder import write_config


class KeepSettings(pl.Callback):
    """Writes the settings of a resumed run to its config.yaml, so that the next resume keeps them; one for all stages.

    Not before the checkpoint is loaded: settings that do not fit it would overwrite those that do.
    """

    def __init__(self, run: Path, config: RunConfig) -> None:
        self.run, self.config = run, config
        """The config as it is now."""

    def change(self, before: RunConfig, after: RunConfig, writes: bool) -> None:
        """The settings of the run, or of the stage `before`, are others from now on; one of several processes writes them."""
        stages = tuple(after if stage == before else stage for stage in self.config.stages)
        self.config = replace(self.config, stages=stages) if stages else after
        if writes:
            write_config(self.run, self.config)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say what has changed since the checkpoint, be it on the command line or in config.yaml."""
        if trainer.is_global_zero:
            name_changes(module.config, checkpoint)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write them, on the first process."""
        if trainer.is_global_zero:
            write_config(self.run, self.config)
