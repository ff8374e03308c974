"""Settings of the built-in materials."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings
from threefusion.registry import component


@component("material", "diffuse", "threefusion.material.diffuse:Diffuse")
@dataclass(frozen=True)
class DiffuseConfig(Settings):
    """Nothing to choose: the camera sampler decides how each view is shaded."""
