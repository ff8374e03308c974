"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiffuseConfig:
    """Nothing to choose: the camera sampler decides how each view is shaded."""
