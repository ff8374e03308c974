"""The one LightningModule: methods differ by YAML, not by subclass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from itertools import repeat
from math import pi
from operator import or_

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from threefusion.camera.projection import wrap_angle
from threefusion.camera.sampler import CameraSampler
from threefusion.component import following
from threefusion.config import RunConfig, config_to_yaml
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry
from threefusion.guidance.guidance import DiffusionGuidance
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.messages import Noted, Warned, send
from threefusion.optimizer.optimizer import refuse_other_rule, take_over_settings
from threefusion.prompt.processor import PromptProcessor
from threefusion.registry import build, entry_of
from threefusion.renderer.renderer import Renderer
from threefusion.system.before import Before
from threefusion.system.coverage import plan_views
from threefusion.system.facing import faces_backwards
from threefusion.system.finite import PATIENCE, SCALER_PATIENCE, StepGuard, culprits, poisoned
from threefusion.system.metrics import RunningMeans
from threefusion.system.objectives import active, check_parts, guidance_loss, own_rates, term_value, with_groups, with_picture
from threefusion.system.phases import PhaseClock
from threefusion.system.retry import retry_step
from threefusion.system.scene import prepare_load
from threefusion.types import RenderOutput, Scene, ViewBatch, Want, view_generator


class TextTo3D(pl.LightningModule):
    """Renders random views of a scene, computes guidance and losses, updates the scene. Frozen priors reach no checkpoint."""

    before: Before | None = None  # what the scene started from, if an objective compares with it

    def __init__(
        self, config: RunConfig, scene: Scene, renderer: Renderer, prompt: PromptProcessor, guidance: nn.ModuleDict
    ) -> None:
        super().__init__()
        self.config = config
        self.camera: CameraSampler = build(config.camera)
        self.scene = scene
        self.renderer = renderer
        self.prompt = prompt
        self.guidance = guidance
        """Objectives by name."""
        terms = {name: with_picture(choice, config.guidance) for name, choice in config.losses.items()}
        self.losses = nn.ModuleDict({name: build(choice) for name, choice in terms.items()})
        self.rates = own_rates(guidance)
        self.optimizer_factory = build(with_groups(config.optimizer, self.rates))
        self.clock = PhaseClock()
        self.metrics = RunningMeans()
        self.guard = StepGuard()
        self.problem: str | None = None
        """Why the training was stopped before its end, None if it was not."""
        self.strict_loading = False
        check_parts(config, self.camera, guidance)
        self.batches_seen = 0
        self.current_step = -1
        """The optimiser step that `on_step` was last called for."""
        self.latest: dict[str, Tensor] = {}
        self.last_render: RenderOutput | None = None

    @property
    def priors(self) -> tuple[DiffusionPrior, ...]:
        """The diffusion priors of all objectives, each once."""
        return tuple(dict.fromkeys(prior for objective in self.guidance.values() for prior in objective.priors()))

    def views(self, batches_seen: int) -> ViewBatch:
        """This process's slice of the views of the next micro-batch.

        With gradient accumulation over m batches, a step's global batch holds m * batch_size views, a batch_size per micro-batch.

        Raises:
            UserError: the batch cannot be shared evenly by the processes, in whole groups of views.
        """
        world, accumulate, group = self.trainer.world_size, self.trainer.accumulate_grad_batches, self.camera.group_size
        share = self.camera.batch_size // world
        if share * world != self.camera.batch_size or share % group:
            unit = "views" if group == 1 else f"views in groups of {group}"
            raise UserError(f"camera.batch_size: {self.camera.batch_size} {unit} cannot be shared evenly by {world} processes")
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
        return poisoned(loss)

    def begin_step(self, step: int) -> None:
        """Let every component follow the step, then the renderer the scene, then check which way the scene faces."""
        for name, component in following(self):
            component.on_step(step, view_generator(self.config.seed, step, 0, f"on_step/{name}"))
        self.renderer.update(self.scene, step, view_generator(self.config.seed, step, 0, "on_step"))
        if step in self.config.facing.steps:
            self.check_facing(step)

    def compute_loss(self, batch: ViewBatch) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The weighted sum of all objectives and loss terms for these views, and each of them unweighted."""
        objectives, terms = active(self.guidance, batch.step), active(self.losses, batch.step)
        want = reduce(or_, (part.wants for part, _ in (*objectives.values(), *terms.values())), Want(random=True))
        with self.clock.measure("render", self.device):
            render: RenderOutput = self.renderer(self.scene, batch, want)
            if want.source:
                render = self.before.beside(render, batch, want)
        with self.clock.measure("guidance", self.device):
            loss, metrics = guidance_loss(objectives, render, self.prompt(batch.camera), batch, named=len(self.guidance) > 1)
        metrics["opacity"] = render.opacity.detach().mean()
        for name, (term, weight) in terms.items():
            value = term_value(term, render, batch, partial(self.renderer, self.scene))
            metrics[name] = value.detach()
            loss = loss + weight * value
        self.last_render = render
        return loss, metrics

    @torch.no_grad()
    def check_facing(self, step: int) -> None:
        """Turn the scene by half a turn if the prior sees a front/back flip; every process decides as the first one does."""
        guidance = next(objective for objective in self.guidance.values() if isinstance(objective, DiffusionGuidance))
        views = self.camera.sample(step, self.config.seed + 1, torch.arange(self.config.facing.views)).to(self.device)

        def encode(part: ViewBatch) -> Float[Tensor, "B C h w"]:
            return guidance.encode(self.renderer(self.scene, part).image, part)

        # no more at once than in a step, so that it fits into memory too
        backwards = faces_backwards(guidance, self.prompt, encode, views, self.camera.batch_size)
        if self.trainer.strategy.broadcast(backwards):
            self.scene.heading.copy_(wrap_angle(self.scene.heading + pi))
            if self.trainer.is_global_zero:
                send(Noted(f"step {step}: the prior takes the front for the back; the scene was turned round"))

    def on_train_start(self) -> None:
        """Plan views, now that a checkpoint has been loaded."""
        plan_views(self.camera, self.scene)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Log the means since the last row when a row is due: on most other steps nothing waits for the device."""
        self.metrics.add(self.latest)
        if self.batches_seen % self.trainer.accumulate_grad_batches:
            return
        row = {}
        if self.trainer.should_stop or self.global_step % (self.trainer.log_every_n_steps or 1) == 0:
            row = self.metrics.take()
            self.log_dict(row)
        if row or self.global_step % PATIENCE == 0:
            self.stop_if_lost(row)

    def stop_if_lost(self, row: Mapping[str, Float[Tensor, ""]]) -> None:
        """Warn of the first skipped steps, and stop after too many in a row; `row` holds the metrics that are known here."""
        if row.get("skipped", 0) and not self.guard.warned and not self.scaled and self.trainer.is_global_zero:
            self.guard.warned = True
            text = f"a step was skipped, because these were not finite: {culprits(row)}. `skipped` in metrics.csv counts on"
            send(Warned(f"step {self.global_step}: {text}"))
        if self.guard.streak >= (SCALER_PATIENCE if self.scaled else PATIENCE):
            if not row:
                row = self.metrics.take()
                self.log_dict(row)
            reason = f"because these were not finite: {culprits(row)}"
            self.problem = f"step {self.global_step}: {int(self.guard.streak)} steps in a row were skipped, {reason}"
            self.trainer.should_stop = True

    @property
    def scaled(self) -> bool:
        """Whether the trainer scales gradients, and skips those that overflow, as it does for 16-mixed."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser over the scene and what renderer and objectives train, with a group per named part.

        Raises:
            UserError: a parameter requires gradients and is in no group; or the optimiser cannot follow the geometry's rows.
        """
        if self.scene.geometry.changes_rows and not self.optimizer_factory.follows_rows:
            name = entry_of(self.config.optimizer).name
            raise UserError(f"optimizer: {name!r} cannot train a geometry that grows or prunes. Use another, such as 'adam'")
        critics = nn.ModuleDict({name: objective.trainable() for name, objective in self.guidance.items()})
        trained = {**dict(self.scene.named_children()), "renderer": self.renderer, "guidance": critics}
        optimizer = self.optimizer_factory.create(nn.ModuleDict(trained))
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        missing = [name for name, value in self.named_parameters() if value.requires_grad and id(value) not in held]
        if missing:
            raise UserError(
                f"{missing[0]}: requires gradients and would not be trained. Parameters of a guidance belong into its trainable()"
            )
        return optimizer

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

        def closure() -> Tensor | None:
            loss = retry_step(self.trainer, optimizer_closure, self.renderer.reduce_memory, rewind)
            self.latest["skipped"] = self.guard.inspect(optimizer.optimizer, self.scaled)
            return loss

        optimizer.step(closure=closure)
        self.guard.release(optimizer.optimizer)
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
        geometry = self.scene.geometry
        if type(geometry).after_step is Geometry.after_step or self.latest["skipped"]:
            return
        rewrite = geometry.after_step(render, self.current_step)
        if rewrite is None:
            return
        if self.trainer.world_size > 1:
            raise UserError("trainer.devices: a geometry that grows or prunes can be trained by one process only")
        self.optimizer_factory.rewrite(optimizer, geometry, rewrite)

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Learning rates are a pure function of the step."""
        scale = self.optimizer_factory.scale(self.global_step)
        for group in self.trainer.optimizers[0].param_groups:
            rate = self.rates.get(group.get("name"))
            group["lr"] = rate(self.global_step) if rate else group["initial_lr"] * scale

    def on_before_backward(self, loss: Tensor) -> None:
        """Start the clock of the backward pass."""
        self.clock.start("backward", self.device)

    def on_after_backward(self) -> None:
        """Stop the clock of the backward pass."""
        self.clock.stop("backward", self.device)

    def train_dataloader(self) -> Iterable[int]:
        """Placeholders without end: views come from the system's own counter, which a checkpoint holds."""
        return repeat(0)

    def saved_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entries of a `state_dict` that a checkpoint holds: all but frozen parameters."""
        frozen = {name for name, value in self.named_parameters(remove_duplicate=False) if not value.requires_grad}
        return {name: value for name, value in state.items() if name not in frozen}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Leave out everything frozen; hold the view counter, because a resumed loader starts again from its first batch, and
        the metrics of the row that is not written yet."""
        checkpoint["batches_seen"] = self.batches_seen
        checkpoint["metrics"] = self.metrics.state()
        checkpoint["origin"] = self.scene.origin
        checkpoint["config"] = config_to_yaml(self.config)
        checkpoint["state_dict"] = self.saved_state(checkpoint["state_dict"])

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuse a checkpoint of another scene, and give its optimiser the rates that the config names now.

        Raises:
            UserError: it was made with another config.
        """
        prepare_load(self.scene, checkpoint["state_dict"])
        own = {k: v.shape for k, v in self.saved_state(self.state_dict()).items()}
        theirs = {k: v.shape for k, v in checkpoint["state_dict"].items()}
        differing = sorted(k for k in own.keys() | theirs.keys() if own.get(k) != theirs.get(k))
        if differing:
            sizes = [str(tuple(found[differing[0]])) if differing[0] in found else "none" for found in (theirs, own)]
            raise UserError(f"the checkpoint was made with another config: {differing[0]} is {sizes[0]} there, {sizes[1]} here")
        refuse_other_rule(checkpoint["config"], config_to_yaml(self.config))
        take_over_settings(checkpoint["optimizer_states"][0]["param_groups"], self.configure_optimizers().param_groups)
        self.batches_seen = checkpoint["batches_seen"]
        self.metrics.restore(checkpoint["metrics"])
        self.scene.origin = checkpoint.get("origin", "")
