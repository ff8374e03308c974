"""Warnings of a training in which nothing happens."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.camera.orbit import evaluation_orbit
from threefusion.guidance.guidance import Guidance
from threefusion.messages import Warned, send
from threefusion.types import RenderOutput

SIDES, SIZE = 4, 32
"""Views of the scene that are looked at, and their height and width."""
FLAT = 2 / 255
"""Range of the colours of all views below which they are one flat colour."""
LEAST = 16
"""Opaque pixels without which nothing is said about colours."""


class Watchdog(pl.Callback):
    """One warning, once, for each of these: the optimiser does not hold what is rendered; `change` steps have changed
    nothing; after `look` steps the colours are not finite, or all the same.

    It reads parameters and renders small views at these steps alone, and draws no random numbers.
    """

    def __init__(self, change: int = 20, look: int = 200) -> None:
        self.change, self.look = change, look
        self._first = 0
        self._before: Tensor | None = None
        self._unseen = False

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Compare what is rendered with what the optimiser holds."""
        self._first, self._unseen = trainer.global_step, trainer.is_global_zero
        self._before = fingerprint(module.scene) if trainer.is_global_zero else None
        held = {id(value) for group in trainer.optimizers[0].param_groups for value in group["params"]}
        rendered = [name for name, value in module.scene.named_parameters() if value.requires_grad and id(value) not in held]
        if rendered:
            remedy = "Create parameters in the constructor, and change them in place"
            self._warn(trainer, f"scene.{rendered[0]} is rendered, but the optimiser holds another tensor or none. {remedy}")

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the parameters and at the scene when it is time to, but not after a step that was skipped."""
        done = trainer.global_step - self._first
        if self._before is not None and done >= self.change and not module.guard.streak:
            before, self._before = self._before, None
            if torch.equal(before, fingerprint(module.scene)):
                self._warn(trainer, f"{done} steps have not changed the scene. {why_unchanged(trainer, module.scene)}")
        if self._unseen and done >= self.look and not module.guard.streak:
            self._unseen = False
            if any(isinstance(part, Guidance) and part.cfg.input == "image" for part in module.guidance.values()):
                self._look(trainer, module)

    @torch.no_grad()
    def _look(self, trainer: pl.Trainer, module: Any) -> None:
        orbit = evaluation_orbit(module.camera, SIDES, SIZE)
        sides = [orbit.select(torch.tensor([index])).to(module.device) for index in range(SIDES)]
        colors = torch.cat([opaque(module.renderer(module.scene, side)) for side in sides])
        if not colors.isfinite().all():
            self._warn(trainer, "the colours are not finite. Lower optimizer.lr, and resume from a checkpoint before")
        elif len(colors) >= LEAST and (colors.amax(0) - colors.amin(0)).max() < FLAT:
            remedy = "Raise the learning rate of the colours (optimizer.lr, optimizer.groups), or guidance.guidance_scale"
            self._warn(trainer, f"the whole scene has one flat colour. {remedy}")

    @staticmethod
    def _warn(trainer: pl.Trainer, text: str) -> None:
        if trainer.is_global_zero:
            send(Warned(f"step {trainer.global_step}: {text}"))


@torch.no_grad()
def fingerprint(scene: nn.Module) -> Float[Tensor, "N"]:
    """Two numbers per trained parameter that change with it, on the device."""
    trained = [value.detach() for value in scene.parameters() if value.requires_grad]
    sums = [value.sum(dtype=torch.float64) for value in trained]
    return torch.stack([*sums, *(torch.linalg.vector_norm(value).double() for value in trained)] or [torch.zeros(())])


def why_unchanged(trainer: pl.Trainer, scene: nn.Module) -> str:
    """The remedy for the likely cause."""
    trained = {id(value): value for value in scene.parameters() if value.requires_grad}
    groups = [group for group in trainer.optimizers[0].param_groups if any(id(value) in trained for value in group["params"])]
    if groups and all(group["lr"] == 0 for group in groups):
        return "Its learning rates are 0: raise optimizer.lr"
    if not any(value.grad is not None and value.grad.any() for value in trained.values()):
        return "No gradient reaches it: set a weight of the guidance other than 0, and see in images/ whether it is in view"
    return "Gradients reach it: raise optimizer.lr"


def opaque(render: RenderOutput) -> Float[Tensor, "N 3"]:
    """The colours of pixels that show the scene alone."""
    return render.image[render.opacity[..., 0] > 0.99]
