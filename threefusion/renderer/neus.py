"""NeuS: volume rendering of signed distances, unbiased at the surface."""

from __future__ import annotations

from math import log
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from threefusion.geometry.geometry import Geometry, HasDistance
from threefusion.renderer.samples import SampleRays
from threefusion.renderer.settings import NeusConfig
from threefusion.renderer.volume import Volume
from threefusion.types import FieldSample


class Neus(Volume):
    """Opacity is the relative fall of sigmoid(s d) along a sample, with signed distance d and a learned sharpness s.

    Wang et al., arXiv 2106.10689, eq. 13. The distances at both ends are extrapolated along the ray by the gradient, as in the
    authors' program.
    """

    needs: ClassVar[type[Geometry]] = HasDistance
    reads_gradient: ClassVar[bool] = True

    def __init__(self, cfg: NeusConfig) -> None:
        super().__init__(cfg)
        self.log_sharpness = nn.Parameter(torch.tensor(log(cfg.initial_sharpness)))
        self.register_buffer("anneal", torch.tensor(cfg.cos_anneal(0)))

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """s, per scene unit: the surface is about 4 / s thick."""
        return self.log_sharpness.clamp_max(log(self.cfg.max_sharpness)).exp()

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Let the slope of the distance along the ray count as the schedule says."""
        self.anneal.fill_(self.cfg.cos_anneal(step))

    def thickness(self, field: FieldSample, seen: SampleRays, length: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        """-log(1 - alpha), with alpha = max(0, (sigmoid(s d0) - sigmoid(s d1)) / sigmoid(s d0)) of the sample's ends."""
        return neus_thickness(self.sharpness, field.distance[:, 0], self._slope(field, seen.directions), length)

    def probe(
        self, geometry: Geometry, points: Tensor, covariance: Tensor | None, seen: SampleRays, length: Tensor
    ) -> Float[Tensor, "N"]:
        """The same thickness: it needs the gradient."""
        return self.thickness(geometry(points, True, covariance), seen, length)

    def density(self, geometry: Geometry, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """The highest density that a ray can meet there: the derivative of the thickness where it hits the surface at right
        angles."""
        return self.sharpness * (-self.sharpness * geometry.distance(points)).sigmoid()

    def _slope(self, field: FieldSample, directions: Tensor) -> Float[Tensor, "N"]:
        """Derivative of the distance along the ray, at most 0; annealed from (cos - 1) / 2, which no sample escapes."""
        cos = (directions * field.gradient).sum(-1)
        return -(self.anneal * (-cos).relu() + (1 - self.anneal) * (0.5 - 0.5 * cos).relu())


def neus_thickness(
    sharpness: Float[Tensor, ""], distance: Float[Tensor, "N"], slope: Float[Tensor, "N"], length: Float[Tensor, "N"]
) -> Float[Tensor, "N"]:
    """log sigmoid(s d0) - log sigmoid(s d1), at least 0, with d0 and d1 the distances at the ends of each sample.

    >>> one = torch.ones(1)
    >>> thickness = neus_thickness(torch.tensor(2.0), 0 * one, -one, one)
    >>> expected = 1 - torch.sigmoid(torch.tensor(-1.0)) / torch.sigmoid(torch.tensor(1.0))
    >>> round(float(-torch.expm1(-thickness) - expected), 6)
    0.0
    """
    half = 0.5 * slope * length
    return (logsigmoid(sharpness * (distance - half)) - logsigmoid(sharpness * (distance + half))).relu()
