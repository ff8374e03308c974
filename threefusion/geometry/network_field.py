"""What density fields and signed distance fields share: an encoding and a small network."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.geometry import Geometry
from threefusion.geometry.mlp import plain_network, residual_network
from threefusion.geometry.settings import NetworkFieldConfig
from threefusion.registry import build


class NetworkField(Geometry):
    """The shape and the features of a point from its encoding; the network's first output is the shape's."""

    takes_shape: ClassVar[str] = "fitted"

    def build_network(self, cfg: NetworkFieldConfig, outputs: int) -> None:
        """Create encoding and network."""
        self.radius = cfg.radius
        self.encoding = build(cfg.encoding)
        self.needs_covariance = self.encoding.needs_covariance
        network = plain_network if cfg.network == "plain" else residual_network
        self.network = network(self.encoding.width, outputs, cfg.hidden_width, cfg.hidden_layers)

    def features(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N D"]:
        """Features alone."""
        return self._raw(points, covariance)[:, 1:].to(points.dtype)

    def _raw(self, points: Tensor, covariance: Tensor | None) -> Tensor:
        """Outputs of the network: the shape's first, then the features."""
        scaled = None if covariance is None else covariance / self.radius**2
        encoded = self.encoding(points / self.radius, scaled)
        with self._precision(encoded):
            return self.network(encoded)

    def _precision(self, encoded: Tensor) -> AbstractContextManager:
        """Autocast for the network's products; parameters and their gradients are float32 either way."""
        return nullcontext() if self.cfg.network_dtype == "float32" else torch.autocast(encoded.device.type, torch.bfloat16)

    def _raw_and_gradient(self, points: Tensor, covariance: Tensor | None) -> tuple[Tensor, Tensor]:
        """The network's outputs, and the gradient of the first, pulled back to the points by the encoding."""
        scaled = None if covariance is None else covariance / self.radius**2
        encoded, pullback = self.encoding.with_pullback(points / self.radius, scaled)
        with self._precision(encoded):
            raw, slope = self.network.with_slope(encoded)
        gradient = pullback(slope) / self.radius
        return raw, gradient if torch.is_grad_enabled() else gradient.detach()
