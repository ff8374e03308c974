"""Where metrics, images, settings and results go in addition to metrics.csv: one W&B run or TensorBoard folder per training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from threefusion.callback.images import read_pixels
from threefusion.config import RunConfig, config_to_yaml
from threefusion.config.sections import CsvConfig, TensorboardConfig, WandbConfig
from threefusion.messages import Ended, Logged, Message, Preview, Started, StepsEnded
from threefusion.registry import build
from threefusion.run.cost import COST
from threefusion.run.folder import RUN_VARIABLE, read_report
from threefusion.run.wandb_run import start_wandb

STEP = "trainer/global_step"
"""Lightning's name of the step in W&B."""


class WandbRun(WandbLogger):
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


class TensorBoardRun(TensorBoardLogger):
    """One folder of event files for all stages and parts of a training."""

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        """Log pictures `[H W 3]` in 8 bits."""
        for image in images:
            self.experiment.add_image(key, image, step, dataformats="HWC")

    def conclude(self, run: Path, report: dict[str, Any]) -> None:
        """Log the results of the training: scores and the mesh."""
        self.log_metrics(final_numbers(report), report["steps"])
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


class Tracker:
    """Passes what a run says on to a logger of Lightning, with steps that count on over the stages of a training."""

    def __init__(self, logger: Logger, run: Path) -> None:
        self.logger, self.run = logger, run
        self.__qualname__ = type(logger).__qualname__  # by which a warning calls it, should it fail
        self.earlier_steps = 0

    def __call__(self, message: Message) -> None:
        """Log rows, pictures and results."""
        match message:
            case Started(earlier_steps=steps):
                self.earlier_steps = steps
            case Logged():
                times = {f"milliseconds/{phase}": value for phase, value in message.milliseconds.items()}
                self.logger.log_metrics({**message.metrics, **message.learning_rates, **times}, self.earlier_steps + message.step)
                self.logger.save()
            case Preview(step, path) if hasattr(self.logger, "log_image"):
                self.logger.log_image("views", [read_pixels(path)], step=self.earlier_steps + step)
            case StepsEnded():
                self.logger.finalize("success")
            case Ended(code=code):
                self.end(failed=code not in (0, 130))

    def end(self, failed: bool) -> None:
        """Log the results, if there are any, and close."""
        report = read_report(self.run) or {}
        if hasattr(self.logger, "conclude") and {"metrics", "artifacts", *COST} <= report.keys():
            self.logger.conclude(self.run, report)
        if hasattr(self.logger, "close"):
            self.logger.close(failed)


def trackers(config: RunConfig, run: Path) -> list[Tracker]:
    """Listeners for the loggers of a training, in its first process.

    Raises:
        UserError: the logger's service refuses.
    """
    loggers = [] if RUN_VARIABLE in os.environ else build(config.logger, run, config_to_yaml(config))
    return [Tracker(logger, run) for logger in loggers]


def final_numbers(report: dict[str, Any]) -> dict[str, Any]:
    """Scores, facts of the export and cost of a finished run, flat."""
    parts = {"score": report["metrics"] or {}, "export": report.get("export") or {}, "cost": report}
    numbers = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
    return {name: value for name, value in numbers.items() if isinstance(value, bool | int | float)}
