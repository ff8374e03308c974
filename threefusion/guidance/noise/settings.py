"""Settings of the built-in sources of noise."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings
from threefusion.registry import component


@component("noise", "white", "threefusion.guidance.noise.white:White")
@dataclass(frozen=True)
class WhiteConfig(Settings):
    """New noise in every step and view."""


@component("noise", "fixed", "threefusion.guidance.noise.white:Fixed")
@dataclass(frozen=True)
class FixedConfig(Settings):
    """The same noise in every step, for each view of the batch its own."""
