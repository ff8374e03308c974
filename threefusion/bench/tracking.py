"""The table in Weights & Biases. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from threefusion.bench.report import Report
from threefusion.bench.table import cells_of
from threefusion.config import Settings
from threefusion.config.sections import WandbConfig
from threefusion.machine.optional import require
from threefusion.run.wandb_run import start_wandb


def track(report: Report, logger: Settings, folder: Path) -> None:
    """Log `cells`, a W&B table with all columns and a picture per cell, and each variant's means; nothing for another logger."""
    if not isinstance(logger, WandbConfig):
        return
    wandb, plan = require("wandb"), report.plan
    settings = {"variants": plan.variants, "prompts": plan.prompts, "seeds": plan.seeds}
    run = start_wandb(logger, folder, settings, name=plan.name, job_type="benchmark")
    columns = report.table.all_columns
    cells = wandb.Table(columns=["variant", "prompt", "seed", "state", "reason", "picture", *columns])
    for row in report.table.rows:
        picture = wandb.Image(str(row.picture)) if row.picture else None
        about = [row.variant, row.prompt, row.seed, row.state, row.reason, picture]
        cells.add_data(*about, *cells_of(row, columns, None))
    run.log({"cells": cells})
    for variant in report.plan.variants:
        for column in report.columns:
            mean = report.of_variant(variant, column)
            if mean is not None:
                run.summary[f"{variant}/{column}"] = mean.mean
    run.finish()
