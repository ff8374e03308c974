"""Pictures as the scene, for 2-D score distillation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.errors import UserError, first_line
from threefusion.geometry.geometry import BuildContext, HasCanvas
from threefusion.geometry.settings import CanvasConfig

MARGIN = 1e-3
"""Distance from black and white of the colours of a file, whose logits would be infinite."""


class Canvas(HasCanvas):
    """Free pixels, shown by the renderer `image`: the simplest scene there is, to see what a guidance does.

    Several pictures are particles: the same training, each from its own start and with its own noise.
    """

    cfg: CanvasConfig

    def __init__(self, cfg: CanvasConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        start = torch.full((cfg.height, cfg.width, 3), 0.5)
        if cfg.file and not context.restoring:
            start = read_picture(Path(cfg.file), cfg.height, cfg.width).clamp(MARGIN, 1 - MARGIN)
        start = start.logit() if cfg.parametrization == "logits" else start
        self.pixels = nn.Parameter(start + cfg.contrast * torch.randn(cfg.particles, cfg.height, cfg.width, 3))

    def canvas(self) -> Float[Tensor, "N H W 3"]:
        """The pictures, row 0 on top; colours in [0, 1], which those of `linear` may leave while they are trained."""
        return self.pixels.sigmoid() if self.cfg.parametrization == "logits" else self.pixels


def read_picture(path: Path, height: int, width: int) -> Float[Tensor, "H W 3"]:
    """The picture in a file, in this size.

    Raises:
        UserError: there is none.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            resized = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    except (OSError, ValueError) as error:
        raise UserError(f"geometry.file: {path} is no picture that can be read ({first_line(error)})") from error
    return torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255)
