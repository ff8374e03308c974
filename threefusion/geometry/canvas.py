"""An image as the scene, for 2-D score distillation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.geometry import BuildContext, HasCanvas
from threefusion.geometry.settings import CanvasConfig


class Canvas(HasCanvas):
    """A grid of free pixels, shown by the renderer `image`: the simplest scene there is, to see what a guidance does."""

    def __init__(self, cfg: CanvasConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        self.logits = nn.Parameter(cfg.contrast * torch.randn(cfg.height, cfg.width, 3))

    def canvas(self) -> Float[Tensor, "H W 3"]:
        """The picture, colours in [0, 1], row 0 on top."""
        return self.logits.sigmoid()
