"""Axes of files. In a scene +z is up, the front is +x and left is +y.

GLB, OBJ and USDZ have +y up and the front along +z. PLY, STL and 3MF have +z up and the front along -y, as Blender and slicers
show it: a program that turns +z up into +y up turns this front into the other.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def to_y_up(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """(x, y, z) -> (y, z, x): front +x becomes +z, up +z becomes +y, left +y becomes +x."""
    return vectors[:, [1, 2, 0]]


def from_y_up(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The inverse of `to_y_up`."""
    return vectors[:, [2, 0, 1]]


def to_z_up(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """(x, y, z) -> (y, -x, z): front +x becomes -y, left +y becomes +x, up stays."""
    return vectors[:, [1, 0, 2]] * vectors.new_tensor([1, -1, 1])


def from_z_up(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The inverse of `to_z_up`."""
    return vectors[:, [1, 0, 2]] * vectors.new_tensor([-1, 1, 1])
