"""What a training shares with its process: all of it, or what several scenes leave to each."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config import Settings
from threefusion.machine.process import environment_variable
from threefusion.messages import Stopped, send
from threefusion.run.folder import RUN_VARIABLE

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

    def callbacks(self) -> list[pl.Callback]:
        """What else is called during the training."""
        return []

    def apart(self) -> AbstractContextManager[None]:
        """A block that uses what the process has once: the global random stream, all cores, the line that names a task."""
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

    def stopped(self, message: Stopped) -> None:
        """Say how to go on with a training that was stopped before its end."""
        send(message)
