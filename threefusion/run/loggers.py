"""Where metrics and images go in addition to metrics.csv."""

from __future__ import annotations

import os
from pathlib import Path

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from threefusion.config.sections import CsvConfig, TensorboardConfig, WandbConfig
from threefusion.machine.optional import require


def no_logger(cfg: CsvConfig, run: Path, config: str) -> list[Logger]:
    """None: every run writes metrics.csv."""
    return []


def tensorboard_logger(cfg: TensorboardConfig, run: Path, config: str) -> list[Logger]:
    """TensorBoard event files in the run folder."""
    return [TensorBoardLogger(run, name=cfg.name, version="")]


def wandb_logger(cfg: WandbConfig, run: Path, config: str) -> list[Logger]:
    """A run in Weights & Biases with the text of its config."""
    require("wandb")
    os.environ.setdefault("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=run, **({"name": run.name} | cfg.given()))
    logger.log_hyperparams({"config": config})
    return [logger]
