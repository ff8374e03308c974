"""The settings of tangential damping. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config import Schedule, bounded
from threefusion.guidance.contrast.settings import ContrastConfig
from threefusion.registry import component


@component("contrast", "tangential-damping", "tangential_damping.contrast:TangentialDamping")
@dataclass(frozen=True)
class TangentialDampingConfig(ContrastConfig):
    """How much of the unconditional prediction is damped."""

    damping: Schedule = bounded(Schedule.constant(1.0), 0, 1)
    """Share of the tangential part that is taken away: 1 is the paper's method, 0 classifier-free guidance."""
