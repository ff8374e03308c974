"""A scene with something to export: an untrained one may have no surface."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.geometry import HasDensity
from threefusion.types import FieldSample

SIZE = 0.6
"""Radius of the ball in radii of the scene: a surface as large as that of a usual object."""


class Filled(HasDensity):
    """The geometry with the density of an opaque ball."""

    def __init__(self, geometry: HasDensity) -> None:
        super().__init__()
        self.geometry, self.radius, self.needs_covariance = geometry, geometry.radius, geometry.needs_covariance

    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """The geometry's features and normals, the ball's density."""
        return replace(self.geometry(points, normals, covariance), density=self._ball(points))

    def density(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N 1"]:
        """The ball's density, in the memory that the geometry's takes."""
        self.geometry.density(points, covariance)
        return self._ball(points)

    def features(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N D"]:
        """The geometry's features."""
        return self.geometry.features(points, covariance)

    def _ball(self, points: Tensor) -> Tensor:
        # soft over some cells of the grid on which it is sampled
        return 100 / self.radius * torch.sigmoid(50 * (SIZE - points.norm(dim=-1, keepdim=True) / self.radius))
