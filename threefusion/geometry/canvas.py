"""A picture in place of a scene: score distillation in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.geometry import CanvasGeometry
from threefusion.registry import register


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


@register("image")
class Canvas(CanvasGeometry):
    """A grid of free pixels, shown by the renderer `image`: the plainest scene there is, to see what a guidance does."""

    def __init__(self, cfg: CanvasConfig, feature_width: int = 0) -> None:
        super().__init__()
        self.logits = nn.Parameter(cfg.contrast * torch.randn(cfg.height, cfg.width, 3))

    def canvas(self) -> Float[Tensor, "H W 3"]:
        """The picture, colours in [0, 1], row 0 on top."""
        return self.logits.sigmoid()
