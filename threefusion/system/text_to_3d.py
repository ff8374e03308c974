"""The one LightningModule: methods differ by YAML, not by subclass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import reduce
from math import pi
from operator import or_

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from threefusion.camera.projection import wrap_angle
from threefusion.camera.sampler import CameraSampler
from threefusion.component import following
from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.guidance.guidance import Guidance
from threefusion.loss.loss import LossTerm
from threefusion.optimizer.optimizer import take_over_settings
from threefusion.prompt.processor import PromptProcessor
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.system.facing import faces_backwards
from threefusion.system.metrics import RunningMeans
from threefusion.system.phases import PhaseClock
from threefusion.system.retry import retry_step
from threefusion.system.scene import prepare_load
from threefusion.types import RenderOutput, Scene, ViewBatch, Want, view_generator


class Placeholders(IterableDataset[int]):
    """An endless stream of nothing: views come from the system's own counter, which a checkpoint holds."""

    def __iter__(self):
        """Zeros without end."""
        while True:
            yield 0


class TextTo3D(pl.LightningModule):
    """Renders random views of a scene, computes guidance and losses, and updates the scene.

    The frozen prior inside `guidance` never reaches a checkpoint.
    """

    def __init__(self, config: RunConfig, scene: Scene, renderer: Renderer, prompt: PromptProcessor, guidance: Guidance) -> None:
        super().__init__()
        self.config = config
        self.camera: CameraSampler = build(config.camera)
        self.scene = scene
        self.renderer = renderer
        self.prompt = prompt
        self.guidance = guidance
        self.losses = nn.ModuleDict({name: build(choice) for name, choice in config.losses.items()})
        self.optimizer_factory = build(config.optimizer)
        self.clock = PhaseClock()
        self.metrics = RunningMeans()
        self.strict_loading = False
        self.batches_seen = 0
        self.current_step = -1
        """The optimiser step that `on_step` was last called for."""
        self.latest: dict[str, Tensor] = {}
        self.last_render: RenderOutput | None = None

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
        """Render one batch of views, and sum guidance and losses."""
        batch = self.views(self.batches_seen)
        if self.current_step != batch.step:
            # set at once: a step that is retried after running out of memory, or has several micro-batches, begins only once
            self.current_step = batch.step
            self.begin_step(batch.step)
        self.batches_seen += 1
        loss, metrics = self.compute_loss(batch)
        # set when the step has ended: it may run out of memory and be retried
        self.latest = metrics | {"loss": loss.detach()}
        return loss

    def begin_step(self, step: int) -> None:
        """Let every component follow the step, then the renderer the scene, then check which way the scene faces."""
        for name, component in following(self):
            component.on_step(step, view_generator(self.config.seed, step, 0, f"on_step/{name}"))
        self.renderer.update(self.scene, step, view_generator(self.config.seed, step, 0, "on_step"))
        if step in self.config.facing.steps:
            self.check_facing(step)

    def compute_loss(self, batch: ViewBatch) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The weighted sum of all terms for these views, and each of them unweighted."""
        active = self.active_losses(batch.step)
        with self.clock.measure("render", self.device):
            want = reduce(or_, (term.wants for term, _ in active.values()), Want(random=True))
            render: RenderOutput = self.renderer(self.scene, batch, want)
        with self.clock.measure("guidance", self.device):
            guidance = self.guidance(render.image, self.prompt(batch.camera), batch)
        loss = guidance.loss
        metrics = {"guidance": guidance.loss.detach(), **guidance.metrics, "opacity": render.opacity.detach().mean()}
        for name, (term, weight) in active.items():
            value = term(render, batch)
            metrics[name] = value.detach()
            loss = loss + weight * value
        self.last_render = render
        return loss, metrics

    @torch.no_grad()
    def check_facing(self, step: int) -> None:
        """Turn the scene by half a turn if the prior sees a front/back flip; every process decides as the first one does."""
        indices, at_once = torch.arange(self.config.facing.views), self.camera.batch_size
        views, *parts = (
            self.camera.sample(step, self.config.seed + 1, part).to(self.device) for part in (indices, *indices.split(at_once))
        )
        # no more at once than a step renders, so that it fits into memory too
        x = torch.cat([self.guidance.encode(self.renderer(self.scene, part).image, part) for part in parts])
        backwards = faces_backwards(self.guidance.prior, self.prompt, x, views, at_once)
        if self.trainer.strategy.broadcast(backwards):
            self.scene.heading.copy_(wrap_angle(self.scene.heading + pi))
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
        return self.optimizer_factory.create(self.scene)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: LightningOptimizer, optimizer_closure: Callable[[], Tensor | None]
    ) -> None:
        """Update the scene; a step that runs out of memory before is retried with smaller chunks.

        Every attempt has the same views and random numbers: those are functions of the number of batches seen, which is restored.
        """
        batches_seen = self.batches_seen

        def rewind() -> None:
            optimizer.zero_grad()
            self.batches_seen = batches_seen

        optimizer.step(closure=lambda: retry_step(self.trainer, optimizer_closure, self.renderer.reduce_memory, rewind))
        self.after_step(optimizer.optimizer)

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Hand the last render to the renderer, and to the geometry, which may change its number of rows.

        Raises:
            UserError: it does so in a run with several processes, whose scenes would differ.
        """
        render, self.last_render = self.last_render, None
        if render is None:
            return
        self.renderer.after_step(render, self.current_step)
        rewrite = self.scene.geometry.after_step(render, self.current_step)
        if rewrite is None:
            return
        if self.trainer.world_size > 1:
            raise UserError("trainer.devices: a geometry that grows or prunes can be trained by one process only")
        self.optimizer_factory.rewrite(optimizer, self.scene.geometry, rewrite)

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
        prepare_load(self.scene, checkpoint["state_dict"])
        own = {k: v.shape for k, v in self.state_dict().items() if not k.startswith(("guidance.", "prompt."))}
        theirs = {k: v.shape for k, v in checkpoint["state_dict"].items()}
        differing = sorted(k for k in own.keys() | theirs.keys() if own.get(k) != theirs.get(k))
        if differing:
            sizes = [str(tuple(found[differing[0]])) if differing[0] in found else "none" for found in (theirs, own)]
            raise UserError(f"the checkpoint was made with another config: {differing[0]} is {sizes[0]} there, {sizes[1]} here")
        take_over_settings(checkpoint["optimizer_states"][0]["param_groups"], self.configure_optimizers().param_groups)
        self.batches_seen = checkpoint["batches_seen"]
