"""A density field: an encoding, a small network, an initial blob."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.density_init import ACTIVATIONS, BLOBS
from threefusion.geometry.geometry import BuildContext, HasDensity
from threefusion.geometry.mlp import plain_network, residual_network
from threefusion.geometry.normals import central_gradient, downhill
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.registry import build
from threefusion.types import FieldSample


class DensityField(HasDensity):
    """Density and features of a point from its encoding: density = activation(network + bias + blob)."""

    def __init__(self, cfg: DensityFieldConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        self.radius = cfg.radius
        self.encoding = build(cfg.encoding)
        self.needs_covariance = self.encoding.needs_covariance
        network = plain_network if cfg.network == "plain" else residual_network
        self.network = network(self.encoding.width, 1 + context.feature_width, cfg.hidden_width, cfg.hidden_layers)

    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Density and features at points in scene units, with unit outward normals if requested."""
        if normals and self.cfg.normal == "analytic":
            raw, gradient = self._raw_and_gradient(points, covariance)
        else:
            raw, gradient = self._raw(points, covariance), None
        if normals and gradient is None:
            repeated = None if covariance is None else covariance.repeat_interleave(6, 0)
            gradient = central_gradient(lambda p: self._level(p, self._raw(p, repeated)), points, self.cfg.difference_step)
        return FieldSample(
            features=raw[:, 1:].to(points.dtype),
            density=self._density(points, raw),
            normal=None if gradient is None else downhill(gradient),
            points=points,
        )

    def density(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N 1"]:
        """Density alone, per scene unit of length; 0 outside the ball."""
        return self._density(points, self._raw(points, covariance))

    def features(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N D"]:
        """Features alone."""
        return self._raw(points, covariance)[:, 1:].to(points.dtype)

    def _raw(self, points: Tensor, covariance: Tensor | None) -> Tensor:
        """Outputs of the network: the density's first, then the features."""
        scaled = None if covariance is None else covariance / self.radius**2
        encoded = self.encoding(points / self.radius, scaled)
        with self._precision(encoded):
            return self.network(encoded)

    def _precision(self, encoded: Tensor) -> AbstractContextManager:
        """Autocast for the network's products; parameters and their gradients are float32 either way."""
        return nullcontext() if self.cfg.network_dtype == "float32" else torch.autocast(encoded.device.type, torch.bfloat16)

    def _raw_and_gradient(self, points: Tensor, covariance: Tensor | None) -> tuple[Tensor, Tensor]:
        """The network's outputs, and the gradient of the density before its activation.

        The activations grow, so this gradient has the density's direction, and it does not underflow where density does. It is
        the network's gradient in the encoding, pulled back to the points by the encoding.
        """
        scaled = None if covariance is None else covariance / self.radius**2
        encoded, pullback = self.encoding.with_pullback(points / self.radius, scaled)
        with self._precision(encoded):
            raw, slope = self.network.with_slope(encoded)
        gradient = pullback(slope) / self.radius
        if not torch.is_grad_enabled():
            gradient = gradient.detach()
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
