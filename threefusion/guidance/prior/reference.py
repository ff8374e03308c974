"""A reference picture from a file, and where other views stand relative to it."""

from __future__ import annotations

from math import pi, radians
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from threefusion.guidance.prior.image import resize
from threefusion.guidance.prior.user_files import open_picture


def read_picture(path: Path) -> Float[Tensor, "H W 4"]:
    """Colours and opacity of a picture, in [0, 1].

    Raises:
        ModelError: it cannot be read, or shows nothing.
    """
    return torch.from_numpy(np.array(open_picture(path), dtype=np.float32)) / 255


def in_square(rgba: Float[Tensor, "H W 4"], size: int) -> Float[Tensor, "1 size size 4"]:
    """Colours times opacity, and opacity, in the middle of a transparent square.

    >>> in_square(torch.tensor([[[1.0, 1.0, 1.0, 0.5]], [[0.0, 0.0, 0.0, 1.0]]]), 2)[0, :, 0]
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.0000, 0.0000, 0.0000, 1.0000]])
    """
    opacity = rgba[..., 3:]
    height, width = rgba.shape[:2]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    margins = (0, 0, left, side - width - left, top, side - height - top)
    return resize(functional.pad(torch.cat([rgba[..., :3] * opacity, opacity], -1), margins)[None], size)


def on_white(rgba: Float[Tensor, "H W 4"], size: int) -> Float[Tensor, "1 size size 3"]:
    """The picture over white, in the middle of a square.

    >>> on_white(torch.tensor([[[0.0, 0.0, 0.0, 0.5]], [[1.0, 0.0, 0.0, 1.0]]]), 2)[0, :, :, 0]
    tensor([[0.5000, 1.0000],
            [1.0000, 1.0000]])
    """
    square = in_square(rgba, size)
    return square[..., :3] + 1 - square[..., 3:]


def relative_pose(
    position: Float[Tensor, "B 3"], elevation_deg: float, azimuth_deg: float, distance: float, polar: bool
) -> Float[Tensor, "B 4"]:
    """Where cameras at `position` that look at the origin stand relative to the reference's, as Zero-1-to-3 was trained on it.

    Differences of the polar angles, sine and cosine of the difference in azimuth, and the difference in distance, or with `polar`
    the reference's own polar angle in its place (Stable Zero123). The polar angle is measured from +z.

    >>> relative_pose(torch.tensor([[0.0, 2.0, 0.0]]), 0.0, 0.0, 1.5, polar=False)[0, 1:].tolist()
    [1.0, -4.371138828673793e-08, 0.5]
    """
    away = position.norm(dim=1)
    elevation = (position[:, 2] / away).clamp(-1, 1).asin()
    turn = torch.atan2(position[:, 1], position[:, 0]) - radians(azimuth_deg)
    last = torch.full_like(away, pi / 2 - radians(elevation_deg)) if polar else away - distance
    return torch.stack([radians(elevation_deg) - elevation, turn.sin(), turn.cos(), last], 1)
