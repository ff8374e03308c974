"""Shared training loop: resumable, with EMA weights and a cosine decay at the end."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training import processes
from training.data import Batch, draw_batch
from training.muon import MatrixOptimizer
from training.views import ViewStore


class Recipe(ABC):
    """Networks, loss and export of a training."""

    image_size: int
    batch_size: int
    learning_rate: float
    networks: nn.ModuleDict
    """Trained and averaged."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Mean loss of a batch."""

    def draw(self, store: ViewStore, generator: torch.Generator) -> Batch:
        """The next batch."""
        return draw_batch(store, self.batch_size, self.image_size, generator)

    def optimizer(self) -> torch.optim.AdamW | MatrixOptimizer:
        """Optimiser of the networks."""
        return torch.optim.AdamW(
            self.networks.parameters(), lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    @abstractmethod
    def export(self, networks: nn.ModuleDict, folder: Path) -> None:
        """Write averaged networks as a diffusers folder."""

    def start_from(self, folder: Path) -> None:
        """Load the networks written by `export`; call it before a `Trainer` is created."""
        for name, pretrained in self.exported(folder).items():
            self.networks[name].load_state_dict(pretrained.float().state_dict())

    def exported(self, folder: Path) -> dict[str, nn.Module]:
        """The networks written by `export`, by their names in `networks`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Plan:
    """Length of training: until either limit is reached, counted over all resumed runs."""

    minutes: float = math.inf
    steps: int = 10**9
    warm_up: int = 200
    """Warm-up steps."""
    cool_down: float = 0.35
    """Final share of the training with cosine decay."""
    seed: int = 0
    save_minutes: float = 3.0
    export_minutes: float = 5.0

    def progress(self, step: int, minutes: float) -> float:
        """Progress in [0, 1]."""
        return min(1.0, max(step / self.steps, minutes / self.minutes))

    def rate(self, step: int, minutes: float) -> float:
        """Factor of the learning rate."""
        rise = min(1.0, (step + 1) / max(1, self.warm_up))
        late = max(0.0, self.progress(step, minutes) - (1 - self.cool_down)) / self.cool_down
        return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, late))))


class Trainer:
    """One training run and its state on disk; several processes share its batches if a launcher started several."""

    def __init__(self, recipe: Recipe, store: ViewStore, folder: Path, plan: Plan) -> None:
        self.recipe, self.store, self.folder, self.plan = recipe, store, folder, plan
        self.rank, self.processes = processes.join()
        recipe.batch_size = max(1, recipe.batch_size // self.processes)
        self.average = copy.deepcopy(recipe.networks).eval().requires_grad_(False)
        self.optimizer = recipe.optimizer()
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.step, self.minutes, self.running = 0, 0.0, 0.0
        if self.checkpoint.exists():
            self.load()
        if self.rank:
            # the saved state has the first process's generator
            self.generator.manual_seed(plan.seed + 1_000_003 * self.rank + 7919 * self.step)

    @property
    def checkpoint(self) -> Path:
        """Path of the saved state."""
        return self.folder / "state.pt"

    def load(self) -> None:
        """Load the saved state."""
        state = torch.load(self.checkpoint, weights_only=True)
        self.recipe.networks.load_state_dict(state["networks"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.minutes, self.running = state["step"], state["minutes"], state["running"]

    def save(self) -> None:
        """Write the state atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.checkpoint.with_suffix(".tmp")
        state = {
            "networks": self.recipe.networks.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "minutes": self.minutes,
            "running": self.running,
        }
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)

    def run(self, export: Path | None = None) -> None:
        """Train to the end of the plan, saving and exporting on the way."""
        saved = exported = logged = self.minutes
        while self.plan.progress(self.step, self.minutes) < 1:
            begin = time.perf_counter()
            self.update()
            self.minutes = processes.first_says(self.minutes + (time.perf_counter() - begin) / 60, self.processes)
            if self.rank:
                continue
            if self.minutes - logged > 0.5:
                logged = self.minutes
                self.log()
            if self.minutes - saved > self.plan.save_minutes:
                saved = self.minutes
                self.save()
                self.store.refresh()
            if export is not None and self.minutes - exported > self.plan.export_minutes:
                exported = self.minutes
                self.recipe.export(self.average, export)
        if self.rank == 0:
            self.save()
            if export is not None:
                self.recipe.export(self.average, export)

    def update(self) -> None:
        """One optimiser step."""
        rate = self.recipe.learning_rate * self.plan.rate(self.step, self.minutes)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.recipe.loss(self.recipe.draw(self.store, self.generator), self.generator)
        loss.backward()
        processes.average_gradients(self.recipe.networks.parameters(), self.processes)
        nn.utils.clip_grad_norm_(self.recipe.networks.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # a shorter horizon in the first steps
        decay = min(0.996, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.recipe.networks.parameters()), 1 - decay)
        self.running = loss.item() if self.step == 1 else 0.98 * self.running + 0.02 * loss.item()

    def log(self) -> None:
        """One line of progress."""
        line = {"step": self.step, "minutes": round(self.minutes, 2), "loss": round(self.running, 5)}
        rate = self.plan.rate(self.step, self.minutes) * self.recipe.learning_rate
        print(json.dumps(line | {"lr": round(rate, 7), "steps_per_s": round(self.step / self.minutes / 60, 3)}), flush=True)
