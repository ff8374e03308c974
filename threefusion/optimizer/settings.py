"""Settings of the built-in optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.registry import component


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """Learning rates, which every built-in optimiser has."""

    lr: float = bounded(0.01, 0, 1e3, open_low=True)
    """Learning rate of every parameter that no group names."""
    groups: dict[str, float] = bounded({}, 0, 1e3)
    """Learning rates by component, e.g. {geometry.encoding: 0.02, background: 0.001}; the longest matching name wins."""
    schedule: Schedule = bounded(Schedule.constant(1.0), 0, 1e6)
    """Multiplies all learning rates."""


@component("optimizer", "adam", "threefusion.optimizer.optimizer:Adam")
@dataclass(frozen=True)
class AdamConfig(OptimizerConfig):
    """Adam and AdamW."""

    betas: tuple[float, float] = bounded((0.9, 0.99), 0, 1, open_high=True)
    """Decay rates of the two moments."""
    eps: float = bounded(1e-15, 0, 1)
    """Guards the division; the tiny value of hash-grid practice, because most table entries have tiny gradients."""
    weight_decay: float = bounded(0.0, 0, 1e3)
    """Decoupled weight decay, for adamw alone: under adam the rare gradients of a table would be drowned by it."""
    variant: Literal["adam", "adamw"] = "adam"
    """Which of the two update rules."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay and self.variant != "adamw":
            raise ValueError("weight_decay: only with variant adamw")


@component("optimizer", "adan", "threefusion.optimizer.adan:Adan")
@dataclass(frozen=True)
class AdanConfig(OptimizerConfig):
    """Adan (arXiv 2208.06677): Adam with a moment of the gradient's change from step to step."""

    betas: tuple[float, float, float] = bounded((0.98, 0.92, 0.99), 0, 1, open_high=True)
    """Decay rates of the gradient, of its change, and of the squares."""
    eps: float = bounded(1e-8, 0, 1)
    """Guards the division."""
    weight_decay: float = bounded(0.0, 0, 1e3)
    """Decoupled weight decay, applied after the step."""


@component("optimizer", "muon", "threefusion.optimizer.muon:Muon")
@dataclass(frozen=True)
class MuonConfig(OptimizerConfig):
    """Muon for the weight matrices of networks, AdamW for everything else; one learning rate serves both."""

    momentum: float = bounded(0.95, 0, 1, open_high=True)
    """Decay rate of the matrices' momentum, which is orthogonalised."""
    smallest_side: int = bounded(16, 1, 2**20)
    """Matrices with a shorter side, such as first and last layers, are left to AdamW."""
    betas: tuple[float, float] = bounded((0.9, 0.99), 0, 1, open_high=True)
    """Decay rates of AdamW's two moments."""
    eps: float = bounded(1e-15, 0, 1)
    """Guards AdamW's division."""
    weight_decay: float = bounded(0.0, 0, 1e3)
    """Decoupled weight decay of both."""


@component("optimizer", "shampoo", "threefusion.optimizer.shampoo:Shampoo")
@dataclass(frozen=True)
class ShampooConfig(OptimizerConfig):
    """Distributed Shampoo (arXiv 2002.09018), with the defaults of DreamFusion."""

    lr: float = bounded(0.001, 0, 1e3, open_low=True)
    """Learning rate of every parameter that no group names; the momentum is a sum, so steps are 1 / (1 - beta1) times as long."""
    betas: tuple[float, float] = bounded((0.9, 0.9), 0, 1, open_high=True)
    """Decay rates of the momentum and of the statistics."""
    exponent: int = bounded(2, 0, 64)
    """Statistics are raised to -1 / exponent; 0 takes twice the number of dimensions."""
    block_size: int = bounded(128, 1, 8192)
    """Matrices are preconditioned in blocks of this size."""
    graft: Literal["sgd", "adagrad", "rmsprop", "sqrt-n"] = "sqrt-n"
    """The rule that determines the length of each tensor's step, and the whole step of vectors; sqrt-n is the sign of the
    gradient."""
    matrix_eps: float = bounded(1e-6, 0, 1, open_low=True)
    """Added to the statistics' diagonal, relative to their largest eigenvalue."""
    start_step: int = bounded(5, 1, 2**31)
    """The first step that is preconditioned; earlier ones are those of the graft."""
    every: int = bounded(1, 1, 2**31)
    """Steps from one computation of the matrix roots to the next."""
    largest_side: int = bounded(8192, 1, 2**31)
    """Tensors with a longer side, such as the tables of hash grids, are treated like vectors."""
    nesterov: bool = True
    """Nesterov momentum."""
    weight_decay: float = bounded(0.0, 0, 1e3)
    """Decoupled weight decay."""
