"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.schedule import Schedule


@dataclass(frozen=True)
class LossConfig:
    """What every loss term has."""

    weight: Schedule = Schedule(((0, 1.0),))  # noqa: RUF009 (frozen)
    """Factor of the term in the sum, by optimiser step; where it is 0 the term is not computed."""


@dataclass(frozen=True)
class SparsityConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = Schedule(((0, 1e-3),))  # noqa: RUF009 (frozen)
    """Factor of the term in the sum, by optimiser step; 1e-3 in DreamFusion, 1 in threestudio."""


@dataclass(frozen=True)
class OpaquenessConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = Schedule(((0, 1.0),))  # noqa: RUF009 (frozen)
    """Factor of the term in the sum, by optimiser step."""


@dataclass(frozen=True)
class OrientationConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = Schedule(((0, 1e-4), (5000, 1e-2)))  # noqa: RUF009 (frozen)
    """Factor of the term in the sum, by optimiser step; DreamFusion raises it a hundredfold over 5000 steps."""
