"""What a training shares with its process: all of it, or what several scenes leave to each."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config import Settings
from threefusion.machine.process import environment_variable
from threefusion.run.folder import RUN_VARIABLE
from threefusion.run.stages import RESUME

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from threefusion.callback.snapshot import Interrupt
    from threefusion.guidance.prior.prior import DiffusionPrior


class Session:
    """A training that has its process for itself; `scenes.SceneSession` is that of one of several scenes."""

    def prior(self, cfg: Settings) -> DiffusionPrior:
        """The prior with these settings."""
        from threefusion.registry import build

        return build(cfg)

    def interrupt(self) -> Interrupt:
        """What stops the training before its end."""
        from threefusion.callback.snapshot import Interrupt

        return Interrupt()

    def progress(self) -> pl.Callback:
        """What shows how far it is."""
        from threefusion.callback.progress import TrainingProgress

        return TrainingProgress()

    def apart(self) -> AbstractContextManager[None]:
        """A block that uses what the process has once: the global random stream, all cores, the line of progress."""
        return nullcontext()

    def training(self, run: Path) -> AbstractContextManager[None]:
        """The block in which a stage is trained."""
        return environment_variable(RUN_VARIABLE, str(run))

    def threads(self, small: bool) -> AbstractContextManager[None]:
        """The block of the steps, with one thread if they are small."""
        from threefusion.run.threads import training_threads

        return training_threads(small)

    def ends(self) -> None:
        """No step will follow."""

    def stopped(self, where: str, run: Path) -> None:
        """Say how to go on with a training that was stopped before its end."""
        print(f"stopped at {where}. Resume with: {RESUME} {run}", file=sys.stderr)
