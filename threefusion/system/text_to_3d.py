"""The one LightningModule: methods differ by YAML, not by subclass."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from threefusion.camera.sampler import CameraSampler
from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.guidance.guidance import Guidance
from threefusion.loss.loss import LossTerm
from threefusion.optimizer.optimizer import take_over_settings
from threefusion.prompt.processor import PromptProcessor
from threefusion.registry import build
from threefusion.system.facing import faces_backwards
from threefusion.system.metrics import RunningMeans
from threefusion.system.phases import PhaseClock
from threefusion.system.retry import retry_step
from threefusion.types import RenderOutput, Scene, ViewBatch, view_generator


class Placeholders(IterableDataset[int]):
    """An endless stream of nothing: views come from the system's own counter, which a checkpoint holds."""

    def __iter__(self):
        """Zeros without end."""
        while True:
            yield 0


class TextTo3D(pl.LightningModule):
    """Renders random views of a scene, has them judged, and moves the scene.

    The frozen prior inside `guidance` never reaches a checkpoint.
    """

    def __init__(self, config: RunConfig, scene: Scene, prompt: PromptProcessor, guidance: Guidance) -> None:
        super().__init__()
        self.config = config
        self.camera: CameraSampler = build(config.camera)
        self.renderer = scene.renderer
        self.prompt = prompt
        self.guidance = guidance
        self.losses = nn.ModuleDict({name: build(choice) for name, choice in config.losses.items()})
        self.optimizer_factory = build(config.optimizer)
        self.clock = PhaseClock()
        self.metrics = RunningMeans()
        self.strict_loading = False
        self.batches_seen = 0
        self.step_followed = -1
        self.latest: dict[str, Tensor] = {}

    @property
    def scene(self) -> Scene:
        """What the run produces."""
        return Scene(self.renderer.geometry, self.renderer.material, self.renderer.background, self.renderer)

    def views(self, batches_seen: int) -> ViewBatch:
        """This process's slice of the views of the next micro-batch.

        With gradient accumulation over m batches, a step's global batch holds m * batch_size views, a batch_size per micro-batch.

        Raises:
            UserError: the batch cannot be shared evenly by the processes.
        """
        world, accumulate = self.trainer.world_size, self.trainer.accumulate_grad_batches
        share, rest = divmod(self.camera.batch_size, world)
        if rest:
            raise UserError(f"camera.batch_size: {self.camera.batch_size} views cannot be shared evenly by {world} processes")
        step, micro = divmod(batches_seen, accumulate)
        first = micro * self.camera.batch_size + self.global_rank * share
        return self.camera.sample(step, self.config.seed, torch.arange(first, first + share)).to(self.device)

    def training_step(self, _: object, batch_idx: int) -> Float[Tensor, ""]:
        """Render one batch of views, score it, weigh the terms."""
        batch = self.views(self.batches_seen)
        if self.step_followed != batch.step:
            self.renderer.on_step(batch.step, view_generator(self.config.seed, batch.step, 0, "on_step"))
            # at once: a step that runs out of memory is done again, but followed only once
            self.step_followed = batch.step
            if batch.step in self.config.facing.steps:
                self.check_facing(batch.step)
        self.batches_seen += 1
        loss, metrics = self.weighed(batch)
        # counted when the step has ended: one that runs out of memory is done again
        self.latest = metrics | {"loss": loss.detach()}
        return loss

    def weighed(self, batch: ViewBatch) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The weighted sum of all terms for these views, and each of them unweighted."""
        active = self.active_losses(batch.step)
        with self.clock.measure("render", self.device):
            render: RenderOutput = self.renderer(batch, normals=any(term.needs_normal for term, _ in active.values()))
        with self.clock.measure("guidance", self.device):
            judged = self.guidance(render.image, self.prompt(batch.camera), batch)
        loss = judged.loss
        metrics = {"guidance": judged.loss.detach(), **judged.metrics, "opacity": render.opacity.detach().mean()}
        for name, (term, weight) in active.items():
            value = term(render, batch)
            metrics[name] = value.detach()
            loss = loss + weight * value
        return loss, metrics

    @torch.no_grad()
    def check_facing(self, step: int) -> None:
        """Turn the scene round if the prior sees its back where the words say front; every process decides as the first does."""
        indices, at_once = torch.arange(self.config.facing.views), self.camera.batch_size
        views, *parts = (
            self.camera.sample(step, self.config.seed + 1, part).to(self.device) for part in (indices, *indices.split(at_once))
        )
        self.renderer.eval()
        # no more at once than a step looks at, so that what fits in memory still does
        x = torch.cat([self.guidance.encode(self.renderer(part).image, part) for part in parts])
        backwards = faces_backwards(self.guidance.prior, self.prompt, x, views, at_once)
        self.renderer.train()
        if self.trainer.strategy.broadcast(backwards):
            self.renderer.turn_round()
            if self.trainer.is_global_zero:
                print(f"step {step}: the prior takes the front for the back; the scene was turned round", file=sys.stderr)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Log the means since the last row when a row is due: on all other steps nothing waits for the device."""
        self.metrics.add(self.latest)
        if self.batches_seen % self.trainer.accumulate_grad_batches:
            return
        if self.trainer.should_stop or self.global_step % (self.trainer.log_every_n_steps or 1) == 0:
            self.log_dict(self.metrics.take())

    def active_losses(self, step: int) -> dict[str, tuple[LossTerm, float]]:
        """Loss terms with a weight other than 0 at `step`."""
        weighted = {name: (term, term.cfg.weight(step)) for name, term in self.losses.items()}
        return {name: pair for name, pair in weighted.items() if pair[1] != 0}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser with a group per named component."""
        parts = {name: getattr(self.scene, name) for name in ("geometry", "material", "background")}
        return self.optimizer_factory.create(nn.ModuleDict(parts))

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: LightningOptimizer, optimizer_closure: Callable[[], Tensor | None]
    ) -> None:
        """One optimiser step; a forward and backward pass that runs out of memory is retried with smaller chunks."""
        batches_seen = self.batches_seen

        def rewind() -> None:
            optimizer.zero_grad()
            self.batches_seen = batches_seen

        optimizer.step(closure=lambda: retry_step(self.trainer, optimizer_closure, self.renderer.spare_memory, rewind))

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Learning rates are a pure function of the step."""
        scale = self.optimizer_factory.scale(self.global_step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * scale

    def on_before_backward(self, loss: Tensor) -> None:
        """Start the clock of the backward pass."""
        self.clock.start("backward", self.device)

    def on_after_backward(self) -> None:
        """Stop the clock of the backward pass."""
        self.clock.stop("backward", self.device)

    def train_dataloader(self) -> DataLoader[int]:
        """Placeholders: see `views`."""
        return DataLoader(Placeholders(), batch_size=None)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Leave out everything frozen; hold the view counter, because a resumed loader starts again from its first batch."""
        checkpoint["batches_seen"] = self.batches_seen
        checkpoint["state_dict"] = {
            k: v for k, v in checkpoint["state_dict"].items() if not k.startswith(("guidance.", "prompt."))
        }

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuse a checkpoint of another scene, and give its optimiser the rates that the config names now.

        Raises:
            UserError: it was made with another config.
        """
        own = {k: v.shape for k, v in self.state_dict().items() if not k.startswith(("guidance.", "prompt."))}
        theirs = {k: v.shape for k, v in checkpoint["state_dict"].items()}
        differing = sorted(k for k in own.keys() | theirs.keys() if own.get(k) != theirs.get(k))
        if differing:
            sizes = [str(tuple(found[differing[0]])) if differing[0] in found else "none" for found in (theirs, own)]
            raise UserError(f"the checkpoint was made with another config: {differing[0]} is {sizes[0]} there, {sizes[1]} here")
        take_over_settings(checkpoint["optimizer_states"][0]["param_groups"], self.configure_optimizers().param_groups)
        self.batches_seen = checkpoint["batches_seen"]
