"""A density field: an encoding, a small network, a blob to start from."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.config import Choice, slot
from threefusion.geometry.density_init import ACTIVATIONS, BLOBS
from threefusion.geometry.geometry import ImplicitGeometry
from threefusion.geometry.mlp import plain_network, residual_network
from threefusion.geometry.normals import central_gradient, downhill
from threefusion.registry import build, register
from threefusion.types import FieldSample


@dataclass(frozen=True)
class DensityFieldConfig:
    """How points become density and features."""

    radius: float = 1.0
    """Radius of the ball round the origin that holds the scene; the density is 0 outside."""
    encoding: Choice = slot("encoding", "hash-grid")  # noqa: RUF009 (frozen)
    """How points are encoded before the network."""
    network: Literal["plain", "residual"] = "plain"
    """`plain`: ReLU layers; `residual`: SiLU layers with layer norm and skip connections, as in DreamFusion."""
    hidden_width: int = 64
    """Width of the hidden layers; DreamFusion's is 128."""
    hidden_layers: int = 1
    """Number of hidden layers, 0 for a linear map; DreamFusion has 5."""
    network_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision in which the network multiplies; bfloat16 pays for wide networks, on processors and GPUs that have it."""
    activation: Literal["softplus", "exp", "trunc-exp"] = "softplus"
    """What makes the density positive: `softplus` (Magic3D), `exp` (DreamFusion), `trunc-exp` (exp with a bounded derivative)."""
    bias: float = 0.0
    """Added to the density before its activation."""
    blob: Literal["none", "dreamfusion", "magic3d"] = "magic3d"
    """Added to the density before its activation: scale·exp(-r²/2std²) (DreamFusion) or scale·(1 - r/std) (Magic3D)."""
    blob_scale: float = 10.0
    """Height of the blob at the origin: 5 in DreamFusion, 10 in Magic3D."""
    blob_std: float = 0.5
    """Size of the blob in scene units: 0.2 in DreamFusion, 0.5 in Magic3D."""
    normal: Literal["analytic", "finite-difference"] = "analytic"
    """How normals are found: the derivative of the field, or central differences of it, which smooth and cost six evaluations."""
    difference_step: float = 0.01
    """Distance of the points between which finite differences are taken, to either side, in scene units."""

    def __post_init__(self) -> None:
        for name in ("radius", "blob_std", "difference_step"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: more than 0")
        if self.network_dtype == "bfloat16" and self.normal == "finite-difference":
            raise ValueError("network_dtype: not bfloat16 with finite differences, which would be all rounding")
        if self.hidden_width < 1:
            raise ValueError("hidden_width: at least 1")
        if not 0 <= self.hidden_layers <= 16:
            raise ValueError("hidden_layers: between 0 and 16")


@register("density-field")
class DensityField(ImplicitGeometry):
    """Density and features of a point from its encoding: density = activation(network + bias + blob)."""

    def __init__(self, cfg: DensityFieldConfig, feature_width: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.radius = cfg.radius
        self.encoding = build(cfg.encoding)
        self.needs_covariance = self.encoding.needs_covariance
        network = plain_network if cfg.network == "plain" else residual_network
        self.network = network(self.encoding.width, 1 + feature_width, cfg.hidden_width, cfg.hidden_layers)
        # signs of the coordinates between the scene and the trained field: x and y change theirs when the scene is turned round
        self.register_buffer("heading", torch.ones(3))

    def turn_round(self) -> None:
        """Turn the scene by half a turn about the vertical axis; nothing that is trained changes."""
        self.heading[:2] *= -1

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Let the encoding follow the step."""
        self.encoding.on_step(step, generator)

    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Density and features at points in scene units, with unit outward normals if asked for."""
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

    def density(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Density alone, per scene unit of length; 0 outside the ball."""
        return self._density(points, self._raw(points, None))

    def _raw(self, points: Tensor, covariance: Tensor | None) -> Tensor:
        """Outputs of the network: the density's first, then the features."""
        scaled = None if covariance is None else covariance / self.radius**2
        encoded = self.encoding(self.heading * points / self.radius, scaled)
        with self._precision(encoded):
            return self.network(encoded)

    def _precision(self, encoded: Tensor) -> AbstractContextManager:
        """What the network multiplies in; parameters and their gradients are float32 either way."""
        return nullcontext() if self.cfg.network_dtype == "float32" else torch.autocast(encoded.device.type, torch.bfloat16)

    def _raw_and_gradient(self, points: Tensor, covariance: Tensor | None) -> tuple[Tensor, Tensor]:
        """The network's outputs, and the gradient of the density before its activation.

        The activations grow, so this gradient has the density's direction, and it does not underflow where density does. It is
        the network's gradient in the encoding, pulled back to the points by the encoding.
        """
        scaled = None if covariance is None else covariance / self.radius**2
        encoded, pullback = self.encoding.with_pullback(self.heading * points / self.radius, scaled)
        with self._precision(encoded):
            raw, slope = self.network.with_slope(encoded)
        gradient = self.heading * pullback(slope) / self.radius
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
        # before the activation: nobody trains what lies outside, and an exponential that overflows there times 0 is no number
        level = torch.where(inside, self._level(points, raw), -torch.inf)
        return ACTIVATIONS[self.cfg.activation](level)[:, None]
