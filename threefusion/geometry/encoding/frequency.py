"""Sines and cosines of the coordinates."""

from __future__ import annotations

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.encoding.encoding import Encoding
from threefusion.geometry.encoding.settings import FrequencyConfig


def phases(points: Float[Tensor, "N D"], frequencies: int) -> Float[Tensor, "N D*{frequencies}"]:
    """pi 2^k x for k = 0 ... frequencies - 1, the frequencies of each coordinate side by side."""
    octaves = pi * 2.0 ** torch.arange(frequencies, device=points.device, dtype=points.dtype)
    return (points[:, :, None] * octaves).flatten(1)


class Frequency(Encoding):
    """sin and cos of pi 2^k x."""

    def __init__(self, cfg: FrequencyConfig) -> None:
        super().__init__(cfg)
        self.width = 6 * cfg.frequencies + 3 * cfg.include_points

    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """Waves at points in [-1, 1]^3; the covariance is not read."""
        phase = phases(points, self.cfg.frequencies)
        waves = [phase.sin(), phase.cos()]
        return torch.cat([points, *waves] if self.cfg.include_points else waves, -1)
