"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from threefusion.schedule import Schedule


@dataclass(frozen=True)
class AdamConfig:
    """Adam and AdamW."""

    lr: float = 0.01
    """Learning rate of every parameter that no group names."""
    groups: dict[str, float] = field(default_factory=dict)
    """Learning rates by component, e.g. {geometry.encoding: 0.02, background: 0.001}; the longest matching name wins."""
    schedule: Schedule = Schedule.constant(1.0)  # noqa: RUF009 (frozen)
    """Multiplies all learning rates."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of the two moments."""
    eps: float = 1e-15
    """Guards the division; the tiny value of hash-grid practice, because most table entries have tiny gradients."""
    weight_decay: float = 0.0
    """Decoupled weight decay, for adamw alone: under adam the rare gradients of a table would be drowned by it."""
    variant: Literal["adam", "adamw"] = "adam"
    """Which of the two update rules."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError("lr: above 0")
        if self.weight_decay < 0:
            raise ValueError("weight_decay: at least 0")
        if self.weight_decay and self.variant != "adamw":
            raise ValueError("weight_decay: only with variant adamw")
