"""A page that people watch and steer a training with, served between its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from threefusion.callback.curves import Curves
from threefusion.callback.snapshot import Interrupt, Snapshot
from threefusion.camera.orbit import evaluation_orbit
from threefusion.config import RunConfig
from threefusion.errors import UserError, first_line
from threefusion.messages import Logged, Message, Warned, send
from threefusion.system.objectives import active
from threefusion.system.phases import per_step
from threefusion.viewer.budget import Budget
from threefusion.viewer.channels import Pictures, pose_of
from threefusion.viewer.dials import dials_of, turn
from threefusion.viewer.insight import pictures_of
from threefusion.viewer.onlookers import Onlookers
from threefusion.viewer.viewer import Pressed, Status, Turned, Viewer

STATUS_INTERVAL = 0.5
"""Seconds between two updates of the numbers on the page."""
PRIOR_INTERVAL = 2.0
"""Seconds between two looks at what the prior wants."""
PAUSED = 0.1
"""Seconds that a paused training waits for an event before it looks at what is to be drawn."""
OTHERS = 0.3
"""Share of the viewer's budget that goes into everything but pictures of the scene."""

Order = Pressed | Turned


class Live(pl.Callback):
    """Serves a viewer between two steps, in the training's thread: a run that is watched ends as one that is not.

    The first process serves; what people order is broadcast to the others, at logged steps only. One for all stages of a run.
    """

    def __init__(
        self,
        viewer: Viewer | None,
        title: str,
        change: Callable[[RunConfig, RunConfig, bool], None],
        export: Callable[[Any], Path | None],
    ) -> None:
        """
        Args:
            viewer: the page; None in all processes but the first.
            title: what is trained.
            change: called in every process when a setting is another one from now on, with the config of the stage before and
                after, and whether this process writes.
            export: exports the scene of a system as it is; the GLB file that came out, if any.
        """
        self.viewer, self.title = viewer, title
        self.change, self.export = change, export
        self.curves = Curves()
        self.paused, self.note = False, ""
        self.orders: list[Order] = []
        self.onlookers: Onlookers | None = None
        self.model: Path | None = None
        """An exported GLB file."""

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Show the scene that is trained from now on."""
        self.left = self.status_sent = self.prior_sent = time.monotonic()
        self.began, self.first = self.left - module.clock.aside, trainer.global_step
        if self.viewer is None:
            return
        cfg = self.viewer.cfg
        self.of_pictures, self.of_others = Budget((1 - OTHERS) * cfg.budget), Budget(OTHERS * cfg.budget)
        self.curves.begin(trainer)
        self.onlookers = self.onlookers or Onlookers(cfg.resolution)
        with self.forgiving():
            self.pictures = Pictures(module.scene, module.renderer)
            if self.onlookers.channel not in self.pictures.channels:
                self.onlookers.channel = self.pictures.channels[0]
            start = pose_of(evaluation_orbit(module.camera, 1, 1).camera)
            self.viewer.prepare(self.title, self.pictures.channels, dials_of(module.config, trainer.global_step), start)
            if self.model is not None:
                self.viewer.show_mesh(self.model)

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Serve, between two optimiser steps; in a pause until it ends."""
        if module.batches_seen % trainer.accumulate_grad_batches:
            return
        self.entered = time.monotonic()
        with module.clock.put_aside():
            self.serve(trainer, module)
            alone = trainer.world_size == 1
            if alone or trainer.global_step % trainer.log_every_n_steps == 0:
                self.carry_out(trainer, module)
                while self.paused and not self.is_to_end(trainer):
                    self.serve(trainer, module)
                    self.carry_out(trainer, module)
        self.left = time.monotonic()

    def serve(self, trainer: pl.Trainer, module: Any) -> None:
        """Take events, draw what can be afforded, and tell how far the training is."""
        if self.viewer is None:
            return
        with self.forgiving():
            for event in self.viewer.take(PAUSED if self.paused else 0.0):
                if isinstance(event, Pressed | Turned):
                    self.orders.append(event)
                else:
                    self.onlookers.handle(event, time.monotonic())
            passed, self.left = time.monotonic() - self.left, time.monotonic()
            if len(self.onlookers):  # what is saved up while nobody looks would be spent at once
                for budget in (self.of_pictures, self.of_others):
                    budget.earn(passed)
                self.draw()
                self.inform(trainer, module)

    def hear(self, message: Message) -> None:
        """Keep the rows of metrics."""
        if isinstance(message, Logged):
            self.curves.add(message)

    def draw(self) -> None:
        """A picture for the client whose turn it is, if there is enough of the budget; in a pause there is."""
        budget, now = self.of_pictures, time.monotonic()
        affordable = budget.largest if self.paused else budget.pixels
        chosen = self.onlookers.next(affordable, budget.largest, now, changing=not self.paused)
        if chosen is None or self.onlookers.channel not in self.pictures.channels:
            return
        client, height = chosen
        image = self.pictures(self.onlookers.clients[client].pose, self.onlookers.channel, height)
        self.viewer.paint(client, image)
        ended = time.monotonic()
        budget.measure(ended - now, image.shape[0] * image.shape[1])
        if not self.paused:
            budget.spend(ended - now)
        self.onlookers.drew(client, height, ended)

    def inform(self, trainer: pl.Trainer, module: Any) -> None:
        """Numbers, curves and what the prior wants, each when it is time to."""
        now = time.monotonic()
        if self.status_sent and self.of_others.seconds <= 0 and not self.paused:
            return
        if now - self.status_sent >= STATUS_INTERVAL:
            self.status_sent = now
            self.viewer.tell(self.status(trainer, module))
            if self.curves.has_news:
                self.viewer.plot(*self.curves.take())
        if now - self.prior_sent >= PRIOR_INTERVAL and not self.paused:
            self.prior_sent = now
            named = len(module.guidance) > 1
            self.viewer.explain(
                {
                    f"{name}: {caption}" if named else caption: picture
                    for name, objective in module.guidance.items()
                    if objective.seen is not None
                    for caption, picture in pictures_of(objective, objective.seen).items()
                }
            )
        if not self.paused:
            self.of_others.spend(time.monotonic() - now)

    def status(self, trainer: pl.Trainer, module: Any) -> Status:
        """How far the training is."""
        step, seconds = trainer.global_step, self.entered - module.clock.aside - self.began
        done = step - self.first
        parts = (active(terms, step) for terms in (module.guidance, module.losses))
        return Status(
            step=step,
            steps=None if trainer.max_steps < 0 else trainer.max_steps,
            rate=done / seconds if seconds > 0 else 0.0,
            phases=per_step(module.clock.seconds(seconds), done),
            weights={name: weight for part in parts for name, (_, weight) in part.items()},
            settings={dial.setting: dial.value for dial in dials_of(module.config, step)},
            paused=self.paused,
            note=self.note,
        )

    def carry_out(self, trainer: pl.Trainer, module: Any) -> None:
        """Do what people want, in every process alike."""
        orders, self.orders = self.orders, []
        if trainer.world_size > 1:
            orders = trainer.strategy.broadcast(orders)
        for order in orders:
            if isinstance(order, Turned):
                self.turn(trainer, module, order)
            elif order.button == "save":
                callback_of(trainer, Snapshot).wanted = True
                self.note = f"step {trainer.global_step} is saved" if trainer.global_step else "nothing to save yet"
            elif order.button == "export":
                self.export_now(trainer, module)
            elif order.button == "stop":
                callback_of(trainer, Interrupt).requested = True
                self.paused, self.note = False, "stopping after the next step"
            elif order.button in ("pause", "resume"):
                self.paused, self.note = order.button == "pause", ""
        if orders:
            self.status_sent = 0.0

    def turn(self, trainer: pl.Trainer, module: Any, order: Turned) -> None:
        """Change a setting from the next step on, and keep it for a resume."""
        before = module.config
        try:
            after = turn(module, order.setting, trainer.global_step, order.value)
        except ValueError as error:
            self.note = f"refused: {first_line(error)}"
            return
        if after is not None:
            self.change(before, after, trainer.is_global_zero)
            # a resume from here, not from before: between two knots a schedule may be rounded otherwise
            callback_of(trainer, Snapshot).wanted = True
            self.note = f"{order.setting} is {order.value:g} from step {trainer.global_step} on"

    def export_now(self, trainer: pl.Trainer, module: Any) -> None:
        """Export the scene as it is, in the first process."""
        if not trainer.is_global_zero:
            return
        try:
            model = self.export(module)
        except UserError as error:
            self.note = f"not exported: {first_line(error)}"
            return
        self.note, self.model = "exported" if model else "this run exports no GLB file", model
        if model and self.viewer is not None:
            with self.forgiving():
                self.viewer.show_mesh(model)

    def is_to_end(self, trainer: pl.Trainer) -> bool:
        """Whether a pause has to end: somebody has interrupted a process, or the viewer of the first one has failed."""
        ends = callback_of(trainer, Interrupt).requested or (trainer.is_global_zero and self.viewer is None)
        if trainer.world_size > 1:
            ends = trainer.strategy.reduce_boolean_decision(ends, all=False)
        self.paused = not ends
        return ends

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """A block of the viewer, which may fail: that is said once, and the training goes on without it."""
        try:
            yield
        except Exception as error:
            send(Warned(f"the viewer has failed, the training goes on without it: {type(error).__name__}: {first_line(error)}"))
            self.close()

    def close(self) -> None:
        """Stop serving."""
        viewer, self.viewer = self.viewer, None
        if viewer is not None:
            with suppress(Exception):
                viewer.close()


def callback_of(trainer: pl.Trainer, kind: type) -> Any:
    """The callback of this class."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))
