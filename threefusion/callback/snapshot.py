"""Checkpoints, which appear whole or not at all, also on Ctrl-C."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from types import FrameType
from typing import Any
from zipfile import is_zipfile

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from threefusion.errors import UserError
from threefusion.machine.files import numbered, written
from threefusion.messages import Saved, Stopping, send
from threefusion.system.finite import nonfinite_state


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints beside where they go; Lightning takes the system's temporary folder, where a killed run leaves them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write one, whole or not at all.

        Raises:
            UserError: the disk is full.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with written(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


class Snapshot(pl.Callback):
    """Saves every `interval` steps and at the end; keeps the newest `keep` checkpoints.

    A step is saved when the next one begins, because Lightning logs its row of the metrics after the callbacks.
    """

    def __init__(self, run: Path, interval: int, keep: int) -> None:
        self.folder = run / "checkpoints"
        self.interval, self.keep = interval, keep
        self.wanted = False
        """Set to save before the next step too."""
        self._saved = -1

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A process that was killed after its last checkpoint has not dropped the oldest."""
        self.drop_old(trainer)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """What a run resumes from is saved already."""
        self._saved = trainer.global_step or -1

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Save when a multiple of the interval was reached (once, however many micro-batches a step has)."""
        # Lightning numbers rows by a counter that is one less after it resumed from here
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        due = self.wanted or trainer.global_step % self.interval == 0
        if due and trainer.global_step != self._saved and trainer.global_step > 0:
            self.save(trainer)
        self.wanted = False

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the end, be it the planned one or an interruption."""
        if trainer.global_step != self._saved:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write `step-000200.ckpt`, then drop the oldest.

        Raises:
            UserError: a parameter is not finite. Nothing is written and nothing dropped.
        """
        self._saved = trainer.global_step
        bad = nonfinite_state(trainer.lightning_module, trainer.optimizers[0])
        if bad:
            raise UserError(f"step {trainer.global_step}: {bad} is not finite, so nothing was saved. Lower optimizer.lr")
        path = self.folder / f"step-{trainer.global_step:06d}.ckpt"
        trainer.save_checkpoint(path)
        self.drop_old(trainer)
        if trainer.is_global_zero:
            send(Saved(trainer.global_step, path))

    def drop_old(self, trainer: pl.Trainer) -> None:
        """Remove all but the newest `keep` checkpoints."""
        if trainer.is_global_zero:
            for old in numbered(self.folder, "step-*.ckpt")[: -self.keep]:
                if is_zipfile(old):  # else a file of another program, or a damaged one
                    old.unlink()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what the metrics.csv of this moment is recognised by, and how `execution: auto` runs networks."""
        checkpoint["metrics_digest"] = trainer.loggers[0].digest
        checkpoint["executions"] = [prior.chosen for prior in module.priors]

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Run networks as before, because another way rounds differently.

        Raises:
            UserError: this machine cannot.
        """
        for prior, chosen in zip(module.priors, checkpoint.get("executions", ()), strict=False):
            prior.restore_choice(chosen)


class Interrupt(pl.Callback):
    """Turns the first Ctrl-C (or SIGTERM) into a clean stop after the current step; a second one kills."""

    def __init__(self) -> None:
        self.requested, self._speaks = False, False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the signals over."""
        self._speaks = trainer.is_global_zero
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the end of a step after an interrupt; several processes synchronise for this at logged steps only."""
        if module.batches_seen % trainer.accumulate_grad_batches:
            return
        stop = self.requested
        if trainer.world_size > 1:
            due = trainer.global_step % (trainer.log_every_n_steps or 1) == 0
            stop = due and trainer.strategy.reduce_boolean_decision(self.requested, all=False)
        if stop:
            self.requested = True
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
        if self._speaks:
            send(Stopping())
