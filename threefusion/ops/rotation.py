"""Rotation of vectors about the vertical axis."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def turn(vectors: Float[Tensor, "*S 3"], angle: Float[Tensor, "*#S"]) -> Float[Tensor, "*S 3"]:
    """Vectors turned about +z by `angle` radians, counterclockwise seen from above.

    Sums of products instead of a matrix product: an angle of 0 changes no bit, and autocast has no say.

    >>> turn(torch.tensor([1.0, 0.0, 2.0]), torch.tensor(torch.pi / 2)).round().tolist()
    [-0.0, 1.0, 2.0]
    """
    x, y, z = vectors.unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], -1)
