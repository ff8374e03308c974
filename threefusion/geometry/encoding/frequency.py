"""Sines and cosines of the coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.encoding.encoding import Encoding
from threefusion.registry import register


def phases(points: Float[Tensor, "N D"], frequencies: int) -> Float[Tensor, "N D*{frequencies}"]:
    """pi 2^k x for k = 0 ... frequencies - 1, the frequencies of each coordinate side by side."""
    octaves = pi * 2.0 ** torch.arange(frequencies, device=points.device, dtype=points.dtype)
    return (points[:, :, None] * octaves).flatten(1)


@dataclass(frozen=True)
class FrequencyConfig:
    """Size of the encoding (NeRF, arXiv 2003.08934, eq. 4)."""

    frequencies: int = 10
    """Octaves per coordinate, from one wave across the scene upwards."""
    include_points: bool = True
    """Put the coordinates themselves in front."""

    def __post_init__(self) -> None:
        if not 1 <= self.frequencies <= 20:
            raise ValueError("frequencies: between 1 and 20")


@register("frequency")
class Frequency(Encoding):
    """sin and cos of pi 2^k x."""

    def __init__(self, cfg: FrequencyConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.width = 6 * cfg.frequencies + 3 * cfg.include_points

    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """Waves at points in [-1, 1]^3; the covariance is not read."""
        phase = phases(points, self.cfg.frequencies)
        waves = [phase.sin(), phase.cos()]
        return torch.cat([points, *waves] if self.cfg.include_points else waves, -1)
