"""Settings of the built-in sources of noise."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.registry import component


@component("noise", "white", "threefusion.guidance.noise.white:White")
@dataclass(frozen=True)
class WhiteConfig(Settings):
    """New noise in every step and view."""


@component("noise", "fixed", "threefusion.guidance.noise.white:Fixed")
@dataclass(frozen=True)
class FixedConfig(Settings):
    """The same noise in every step, for each view of the batch its own."""


@component("noise", "surface", "threefusion.guidance.noise.surface:Surface")
@dataclass(frozen=True)
class SurfaceConfig(Settings):
    """Noise painted on the scene's surface, the same in all views (consistent flow distillation, arXiv 2501.05445)."""

    resolution: float = bounded(1.0, 0, 32, open_low=True)
    """Texels along each edge of the cube that carries the noise, per pixel along the prior's image."""
    lifetime: float = bounded(10000.0, 1, 1e12)
    """Steps in which every texel is drawn anew, each at a time of its own; the paper renews a share of 0.0001 per step."""
    painted: Schedule = bounded(Schedule.constant(1.0), 0, 1)
    """Share of the noise's variance that is painted on the surface; the rest is new in every step and view."""
