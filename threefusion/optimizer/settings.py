"""Settings of the built-in optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.registry import component


@component("optimizer", "adam", "threefusion.optimizer.optimizer:Adam")
@dataclass(frozen=True)
class AdamConfig(Settings):
    """Adam and AdamW."""

    lr: float = bounded(0.01, 0, 1e3, open_low=True)
    """Learning rate of every parameter that no group names."""
    groups: dict[str, float] = bounded({}, 0, 1e3)
    """Learning rates by component, e.g. {geometry.encoding: 0.02, background: 0.001}; the longest matching name wins."""
    schedule: Schedule = bounded(Schedule.constant(1.0), 0, 1e6)
    """Multiplies all learning rates."""
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
