"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config import Choice, slot


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


@dataclass(frozen=True)
class CanvasConfig:
    """Size of the picture."""

    height: int = 64
    """Height in pixels."""
    width: int = 64
    """Width in pixels."""
    contrast: float = 0.0
    """Standard deviation of the random logits that the picture starts from; 0 starts grey."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
        if self.contrast < 0:
            raise ValueError("contrast: 0 or more")
