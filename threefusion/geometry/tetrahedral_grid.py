"""A body-centred cubic grid of tetrahedra."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

CELLS_PER_RESOLUTION = 2.5
"""A grid of n / 2.5 cells has about as many tetrahedra as the grids that others call n."""


def cells_of(resolution: int) -> int:
    """Cells along an axis of a grid with as many vertices as the common tetrahedral grid of `resolution`.

    >>> cells_of(64), cells_of(128)
    (26, 51)
    """
    return round(resolution / CELLS_PER_RESOLUTION)


def bcc_grid(cells: int) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "T 4"]]:
    """Vertices in [-1, 1]³ and tetrahedra of positive volume, which fill the cube.

    Vertices are the corners of cells³ cubes and their centres. Round the line between the centres of neighbouring cubes lie
    four tetrahedra, one along each edge of the square that the cubes share; a square of the border makes two with one centre.
    """
    axis = torch.linspace(-1, 1, cells + 1)
    corners = torch.cartesian_prod(axis, axis, axis)
    middle = (axis[1:] + axis[:-1]) / 2
    corner = torch.arange((cells + 1) ** 3).view(cells + 1, cells + 1, cells + 1)
    centre = len(corners) + torch.arange(cells**3).view(cells, cells, cells)
    parts = []
    for dimension in range(3):
        # axes in cyclic order, so that every direction has the same orientation
        order = [(dimension + shift) % 3 for shift in range(3)]
        square, cube = _squares(corner.permute(order)), centre.permute(order)
        ahead, behind = cube[1:], cube[:-1]
        for edge in range(4):
            a, b = square[1:-1, ..., edge], square[1:-1, ..., (edge + 1) % 4]
            parts.append(torch.stack([behind, ahead, a, b], -1))
        for border, first, second in ((0, 1, 2), (0, 2, 3), (-1, 2, 1), (-1, 3, 2)):
            here = square[border]
            parts.append(torch.stack([cube[border], here[..., 0], here[..., second], here[..., first]], -1))
    return torch.cat([corners, torch.cartesian_prod(middle, middle, middle)]), torch.cat([part.reshape(-1, 4) for part in parts])


def _squares(corner: Int[Tensor, "N N N"]) -> Int[Tensor, "N M M 4"]:
    """The corners of the squares across the first axis, anticlockwise as seen from its far end."""
    return torch.stack([corner[:, :-1, :-1], corner[:, 1:, :-1], corner[:, 1:, 1:], corner[:, :-1, 1:]], -1)


def volumes(positions: Float[Tensor, "V 3"], tets: Int[Tensor, "T 4"]) -> Float[Tensor, "T"]:
    """Signed volume of each tetrahedron."""
    a, b, c, d = positions[tets].unbind(1)
    return (torch.linalg.cross(b - a, c - a) * (d - a)).sum(-1) / 6
