"""Retries a training step that ran out of memory."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl
from torch import Tensor

from threefusion.errors import UserError
from threefusion.machine.memory import retry_on_oom

OOM_ADVICE = "Lower renderer.samples_per_chunk, camera.batch_size, or camera.height and camera.width"
"""What to do about a step that does not fit."""


def retry_step(
    trainer: pl.Trainer, closure: Callable[[], Tensor | None], reduce_memory: Callable[[], None], rewind: Callable[[], None]
) -> Tensor | None:
    """The closure's loss with its gradients in place; after running out of memory, `reduce_memory` and `rewind`, then retry.

    Every attempt renders the same views with the same random numbers, because both depend on the number of batches seen, which
    `rewind` restores; it also drops the gradients of the failed attempt. So the run continues as if it had started with the
    smaller chunks.

    Raises:
        UserError: memory cannot be reduced further; or the step is shared by several processes, of which only one would retry
            while the others wait; or by several micro-batches, whose gradients would be dropped with its own.
    """

    def on_oom() -> None:
        if trainer.world_size > 1:
            raise UserError(f"out of memory, and a step can only be retried in a run of one process. {OOM_ADVICE}")
        if trainer.accumulate_grad_batches > 1:
            raise UserError(f"out of memory, and a step of several micro-batches cannot be retried. {OOM_ADVICE}")
        reduce_memory()
        rewind()

    return retry_on_oom(closure, on_oom)
