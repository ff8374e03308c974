"""VolSDF: volume rendering of signed distances through a density."""

from __future__ import annotations

from math import log
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.geometry import Geometry, HasDistance
from threefusion.renderer.samples import SampleRays
from threefusion.renderer.settings import VolsdfConfig
from threefusion.renderer.volume import Volume
from threefusion.types import FieldSample


class Volsdf(Volume):
    """Density is 1 / beta times the cumulative Laplace distribution of -d, with signed distance d and a learned width beta.

    Yariv et al., arXiv 2106.12052, eq. 2 and 3, with alpha = 1 / beta.
    """

    needs: ClassVar[type[Geometry]] = HasDistance

    def __init__(self, cfg: VolsdfConfig) -> None:
        super().__init__(cfg)
        self.log_width = nn.Parameter(torch.tensor(log(cfg.initial_beta)))

    @property
    def beta(self) -> Float[Tensor, ""]:
        """Width of the surface in scene units."""
        return self.log_width.exp() + self.cfg.min_beta

    def density(self, geometry: Geometry, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """The density at points."""
        return laplace_density(geometry.distance(points), self.beta)

    def thickness(self, field: FieldSample, seen: SampleRays, length: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        """Density times length."""
        return laplace_density(field.distance[:, 0], self.beta) * length

    def probe(
        self, geometry: Geometry, points: Tensor, covariance: Tensor | None, seen: SampleRays, length: Tensor
    ) -> Float[Tensor, "N"]:
        """The same, of the distance alone."""
        return self.density(geometry, points)[:, 0] * length


def laplace_density(distance: Float[Tensor, "*N"], beta: Float[Tensor, ""]) -> Float[Tensor, "*N"]:
    """1 / beta inside, half of it at the surface, fading out as exp(-d / beta) outside.

    >>> laplace_density(torch.tensor([-9.0, 0.0, 99.0]), torch.tensor(0.5)).tolist()
    [2.0, 1.0, 0.0]
    """
    tail = 0.5 * (-distance.abs() / beta).exp()  # of |d|: neither branch overflows
    return torch.where(distance > 0, tail, 1 - tail) / beta
