"""Three planes of features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.encoding.encoding import Encoding
from threefusion.geometry.encoding.settings import TriPlaneConfig

_PLANES = ((0, 1), (0, 2), (1, 2))


class TriPlane(Encoding):
    """Sum of the features of a point's projections to the planes xy, xz and yz, interpolated bilinearly (EG3D, section 3)."""

    def __init__(self, cfg: TriPlaneConfig) -> None:
        super().__init__(cfg)
        self.width = cfg.features
        self.planes = nn.Parameter(0.1 * torch.randn(3, cfg.resolution**2, cfg.features))

    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """Features of points in [-1, 1]^3, differentiable twice in the points; the covariance is not read."""
        side = self.cfg.resolution
        scaled = (points.clamp(-1, 1) + 1) * ((side - 1) / 2)
        low = scaled.detach().long().clamp_max(side - 2)
        share = scaled - low
        encoded = points.new_zeros(len(points), self.width)
        # not grid_sample, which torch differentiates only once on a GPU
        for plane, (u, v) in zip(self.planes, _PLANES, strict=True):
            for du in (0, 1):
                for dv in (0, 1):
                    weight = (share[:, u] if du else 1 - share[:, u]) * (share[:, v] if dv else 1 - share[:, v])
                    row = (low[:, v] + dv) * side + low[:, u] + du
                    encoded = encoded + weight[:, None] * plane.index_select(0, row)
        return encoded
