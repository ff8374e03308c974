"""Marching tetrahedra (Doi and Koide, 1991): the surface where a function on the vertices of tetrahedra changes its sign."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.backend import kernels
from threefusion.types import Mesh

EDGES = tuple(combinations(range(4), 2))
"""The edges of a tetrahedron, as pairs of its corners."""
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
"""A tetrahedron of positive volume."""
SMALLEST = 1e-8
"""Least difference of the distances at the ends of an edge, which bounds the derivative of where the edge is crossed."""


def _polygon(inside: int) -> list[int]:
    """The crossed edges, anticlockwise as seen from outside; bit i of `inside` says whether corner i is inside."""
    is_inside = np.array([inside >> corner & 1 for corner in range(4)], bool)
    crossed = [index for index, (a, b) in enumerate(EDGES) if is_inside[a] != is_inside[b]]
    if not crossed:
        return []
    middles = np.array([CORNERS[list(EDGES[index])].mean(0) for index in crossed])
    outward = CORNERS[~is_inside].mean(0) - CORNERS[is_inside].mean(0)
    spokes = middles - middles.mean(0)
    # the polygon's own normal: the middles lie in a plane
    normal = np.cross(spokes[0], next(spoke for spoke in spokes[1:] if np.linalg.norm(np.cross(spokes[0], spoke)) > 1e-9))
    normal *= np.sign(normal @ outward)
    across = np.cross(normal / np.linalg.norm(normal), spokes[0])
    return [crossed[index] for index in np.argsort(np.arctan2(spokes @ across, spokes @ spokes[0]))]


def _triangles() -> tuple[Int[Tensor, "16 2 3"], Int[Tensor, "16"]]:
    """Edges of the triangles of each case, and how many triangles there are."""
    table, count = torch.zeros(16, 2, 3, dtype=torch.int64), torch.zeros(16, dtype=torch.int64)
    for case in range(16):
        polygon = _polygon(case)
        count[case] = max(len(polygon) - 2, 0)
        for index in range(int(count[case])):
            table[case, index] = torch.tensor([polygon[0], polygon[index + 1], polygon[index + 2]])
    return table, count


TRIANGLES, COUNT = _triangles()


def marching_tetrahedra(positions: Float[Tensor, "V 3"], distance: Float[Tensor, "V"], tets: Int[Tensor, "T 4"]) -> Mesh:
    """The surface where `distance`, which is negative inside, is 0; differentiable in positions and distances.

    Winding is outward if all tetrahedra have positive volumes. The surface is closed if the border of the grid is outside.

    Example:
        >>> corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        >>> mesh = marching_tetrahedra(corners, torch.tensor([-1.0, 1, 1, 3]), torch.tensor([[0, 1, 2, 3]]))
        >>> mesh.vertices.tolist(), mesh.faces.tolist()
        ([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.25]], [[2, 0, 1]])
    """
    edges, faces = crossed_edges(distance, tets)
    return Mesh(crossings(positions[edges], distance[edges]), faces)


def crossed_edges(distance: Float[Tensor, "V"], tets: Int[Tensor, "T 4"]) -> tuple[Int[Tensor, "E 2"], Int[Tensor, "F 3"]]:
    """The edges whose ends lie on different sides, each once, and the triangles between them."""
    return kernels("topology", distance.device).crossed_edges(distance.detach() < 0, tets)


def crossings(ends: Float[Tensor, "E 2 3"], distance: Float[Tensor, "E 2"]) -> Float[Tensor, "E 3"]:
    """Where the surface crosses edges with these ends and distances there."""
    first, second = distance.unbind(1)
    change = second - first
    # of either sign; an edge that is hardly crossed at all would have a derivative without bound
    change = torch.where(change.abs() < SMALLEST, torch.where(change < 0, -SMALLEST, SMALLEST), change)
    return torch.lerp(ends[:, 0], ends[:, 1], (-first / change)[:, None])
