"""Where metrics, images, settings and results go in addition to metrics.csv: one W&B run or TensorBoard folder per training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from threefusion.config import RunConfig, config_to_yaml
from threefusion.config.sections import CsvConfig, TensorboardConfig, WandbConfig
from threefusion.registry import build
from threefusion.run.cost import COST
from threefusion.run.folder import RUN_VARIABLE, read_report
from threefusion.run.wandb_run import start_wandb

STEP = "trainer/global_step"
"""Lightning's name of the step in W&B."""


class OneForAllStages(Logger):
    """Mixin of loggers whose steps count on over the stages of a training."""

    earlier_steps = 0
    """Steps of the stages before."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row, without Lightning's epoch, which is always 0."""
        row = {name: value for name, value in metrics.items() if name != "epoch"}
        super().log_metrics(row, None if step is None else step + self.earlier_steps)


class WandbRun(OneForAllStages, WandbLogger):
    """One W&B run for all stages and parts of a training."""

    def conclude(self, run: Path, report: dict[str, Any]) -> None:
        """Log the results of the training: scores as the summary, the turntable and the mesh."""
        import wandb

        self.experiment.summary.update(final_numbers(report))
        video, mesh = (report["artifacts"][name] for name in ("video", "mesh"))
        if video:
            self.log_video("turntable", [str(run / video)])
        if mesh and mesh.rpartition(".")[2] in wandb.Object3D.SUPPORTED_TYPES:
            self.log_metrics({"mesh": wandb.Object3D(str(run / mesh))})

    def close(self, failed: bool) -> None:
        """Finish the run now: at the interpreter's exit the client may lose what it still buffers on a busy machine."""
        self.experiment.finish(exit_code=int(failed))


class TensorBoardRun(OneForAllStages, TensorBoardLogger):
    """One folder of event files for all stages and parts of a training."""

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        """Log pictures `[H W 3]` in 8 bits."""
        for image in images:
            self.experiment.add_image(key, image, step + self.earlier_steps, dataformats="HWC")

    def conclude(self, run: Path, report: dict[str, Any]) -> None:
        """Log the results of the training: scores and the mesh."""
        self.log_metrics(final_numbers(report), report["steps"] - self.earlier_steps)
        if mesh := report["artifacts"]["mesh"]:
            import trimesh

            loaded = trimesh.load(run / mesh, force="mesh", process=False)
            colors = loaded.visual.to_color().vertex_colors if hasattr(loaded.visual, "to_color") else loaded.visual.vertex_colors
            arrays = (np.array(values)[None] for values in (loaded.vertices, colors[:, :3], loaded.faces))
            self.experiment.add_mesh("mesh", *arrays, global_step=report["steps"])

    def finalize(self, status: str) -> None:
        """Write what is buffered; called by Lightning after every stage.

        A closed writer would begin a file named after the second, and so replace that of a stage that began in the same one.
        """
        self.experiment.flush()

    def close(self, failed: bool) -> None:
        """Write what is buffered, and close the file."""
        super().finalize("failed" if failed else "success")


def no_logger(cfg: CsvConfig, run: Path, config: str) -> list[Logger]:
    """None: every run writes metrics.csv."""
    return []


def tensorboard_logger(cfg: TensorboardConfig, run: Path, config: str) -> list[Logger]:
    """TensorBoard event files in the run folder."""
    logger = TensorBoardRun(run, name=cfg.name, version="")
    logger.log_hyperparams(yaml.safe_load(config))
    return [logger]


def wandb_logger(cfg: WandbConfig, run: Path, config: str) -> list[Logger]:
    """A run in Weights & Biases with its config."""
    experiment = start_wandb(cfg, run, yaml.safe_load(config))
    experiment.define_metric(STEP)
    experiment.define_metric("*", step_metric=STEP, step_sync=True)
    return [WandbRun(experiment=experiment)]


@contextmanager
def tracked(config: RunConfig, run: Path) -> Iterator[list[Logger]]:
    """The loggers of a training, in its first process; at the end of the block they receive its results and are closed.

    Raises:
        UserError: the logger's service refuses.
    """
    loggers = [] if RUN_VARIABLE in os.environ else build(config.logger, run, config_to_yaml(config))
    own = [logger for logger in loggers if isinstance(logger, OneForAllStages)]
    failed = True
    try:
        yield loggers
        failed = False
    finally:
        report = read_report(run) or {}
        for logger in own:
            if {"metrics", "artifacts", *COST} <= report.keys():
                logger.conclude(run, report)
            logger.close(failed)


def final_numbers(report: dict[str, Any]) -> dict[str, Any]:
    """Scores, facts of the export and cost of a finished run, flat."""
    parts = {"score": report["metrics"] or {}, "export": report.get("export") or {}, "cost": report}
    numbers = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
    return {name: value for name, value in numbers.items() if isinstance(value, bool | int | float)}
