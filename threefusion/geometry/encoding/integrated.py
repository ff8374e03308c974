"""mip-NeRF's integrated positional encoding: sines and cosines averaged over the cone of a pixel."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.encoding.encoding import Encoding
from threefusion.geometry.encoding.frequency import phases
from threefusion.geometry.encoding.settings import IntegratedConfig


class Integrated(Encoding):
    """Expected sin and cos of pi 2^k x for x normally distributed round each point; without a covariance the plain waves."""

    needs_covariance: ClassVar[bool] = True

    def __init__(self, cfg: IntegratedConfig) -> None:
        super().__init__(cfg)
        self.width = 6 * cfg.frequencies

    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """E[sin(a x)] = sin(a mu) exp(-a^2 sigma^2 / 2), likewise for cos (mip-NeRF, section 3.1)."""
        phase = phases(points, self.cfg.frequencies)
        waves = torch.stack([phase.sin(), phase.cos()], 1)
        if covariance is not None:
            spread = phases(covariance.clamp_min(0).sqrt(), self.cfg.frequencies)
            waves = waves * (-0.5 * spread.square()).exp()[:, None]
        return waves.flatten(1)
