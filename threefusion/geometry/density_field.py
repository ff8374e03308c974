"""A density field: an encoding, a small network, an initial blob."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.density_init import ACTIVATIONS, BLOBS
from threefusion.geometry.geometry import BuildContext, HasDensity
from threefusion.geometry.network_field import NetworkField
from threefusion.geometry.normals import central_gradient, downhill
from threefusion.geometry.settings import DensityConfig
from threefusion.types import FieldSample


class DensityField(NetworkField, HasDensity):
    """Density and features of a point from its encoding: density = activation(network + bias + blob)."""

    def __init__(self, cfg: DensityConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        self.build_network(cfg, 1 + context.feature_width)

    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Density and features at points in scene units, with unit outward normals if requested."""
        if normals and self.cfg.normal == "analytic":
            raw, gradient = self._raw_and_gradient(points, covariance)
        else:
            raw, gradient = self._raw(points, covariance), None
        if normals and gradient is None:
            repeated = None if covariance is None else covariance.repeat_interleave(6, 0)
            gradient = central_gradient(lambda p: self._level(p, self._raw(p, repeated)), points, self.cfg.difference_step)
        # of the transposed array, whose memory is contiguous: so are then all gradients
        level, features = raw.mT.split([1, raw.shape[1] - 1])
        return FieldSample(
            features=features.mT.to(points.dtype),
            density=self._density(points, level.mT),
            normal=None if gradient is None else downhill(gradient),
            points=points,
        )

    def density(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N 1"]:
        """Density alone, per scene unit of length; 0 outside the ball."""
        return self._density(points, self._raw(points, covariance))

    def _raw_and_gradient(self, points: Tensor, covariance: Tensor | None) -> tuple[Tensor, Tensor]:
        """The network's outputs, and the gradient of the density before its activation.

        The activations grow, so this gradient has the density's direction, and it does not underflow where density does.
        """
        raw, gradient = super()._raw_and_gradient(points, covariance)
        if self.cfg.blob != "none":
            gradient = gradient + BLOBS[self.cfg.blob](points, self.cfg.blob_scale, self.cfg.blob_std)[1]
        return raw, gradient

    def _level(self, points: Tensor, raw: Tensor) -> Tensor:
        """The density before its activation `[N]`, in the points' precision even where the network runs in half."""
        level = raw[:, 0].to(points.dtype) + self.cfg.bias
        if self.cfg.blob == "none":
            return level
        return level + BLOBS[self.cfg.blob](points, self.cfg.blob_scale, self.cfg.blob_std)[0]

    def _density(self, points: Tensor, raw: Tensor) -> Tensor:
        inside = points.square().sum(-1) < self.radius**2
        # before the activation: nothing trains the field outside, where exp may overflow, and inf * 0 is NaN
        level = torch.where(inside, self._level(points, raw), -torch.inf)
        return ACTIVATIONS[self.cfg.activation](level)[:, None]
