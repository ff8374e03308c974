"""A step that ran out of memory, done again in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from threefusion.errors import UserError
from threefusion.machine.memory import until_it_fits

if TYPE_CHECKING:
    from pytorch_lightning.core.optimizer import LightningOptimizer

    from threefusion.system.text_to_3d import TextTo3D

LOWER = "Lower renderer.samples_per_chunk, camera.batch_size, or camera.height and camera.width"
"""What to do about a step that does not fit."""


def step_that_fits(system: TextTo3D, optimizer: LightningOptimizer, closure: Callable[[], Tensor | None]) -> Tensor | None:
    """The closure's loss, with its gradients in place; for as long as memory does not suffice, the renderer is told to need less.

    Every attempt sees the same views and the same random numbers: those are functions of the number of batches seen, which is
    put back. Gradients of an interrupted attempt are dropped. So the run goes on as if it had begun with the smaller chunk.

    Raises:
        UserError: the renderer cannot need less; or the step is shared by several processes, of which only one would begin
            again while the others wait; or by several micro-batches, whose gradients would be dropped with its own.
    """
    batches_seen = system.batches_seen

    def begin_again() -> None:
        if system.trainer.world_size > 1:
            raise UserError(f"out of memory, and only a process on its own can do a step again. {LOWER}")
        if system.trainer.accumulate_grad_batches > 1:
            raise UserError(f"out of memory, and a step of several micro-batches cannot be done again. {LOWER}")
        system.renderer.spare_memory()
        optimizer.zero_grad()
        system.batches_seen = batches_seen

    return until_it_fits(closure, begin_again)
