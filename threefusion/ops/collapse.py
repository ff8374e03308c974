"""Decimation of triangle meshes by edge collapses that keep the topology, on CPUs.

Quadric error metrics (Garland and Heckbert, SIGGRAPH 1997) choose the edges and where the merged vertices go. An edge is
collapsed only if the link condition holds (Dey et al. 1999): a closed manifold stays one, with its parts and handles, down to
any number of faces. Collapses are made in rounds, in each the cheapest edges of vertices that have not moved yet, in one thread:
the result depends on the mesh alone.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.backend import kernels
from threefusion.ops.torch_kernels.collapse import BORDER, FREE, LOCKED

ROUND = 8
"""A round takes at most one in so many faces; fewer rounds would take edges that are not nearly the cheapest."""
ROUNDNESS = 1e-3
"""Weight of the distance to the merged vertices; it decides where the planes of their faces leave the position open."""
BORDER_WEIGHT = 10.0
"""Weight of the planes that stand upright on the border."""


def collapse_edges(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], count: int
) -> tuple[Float[Tensor, "V2 3"], Int[Tensor, "F2 3"]]:
    """A mesh of at most `count` faces, or of the fewest that the topology and the shape of the faces allow."""
    positions, corners = vertices.double().numpy().copy(), faces.long().numpy().copy()
    kind, border = _kinds(corners, len(positions))
    quadrics, removed, most = _quadrics(positions, corners, border), 1, len(corners) - count
    collapse = kernels("collapse", torch.device("cpu")).collapse
    while removed and most > 0:
        edges = _edges(corners)[0]
        cost, target = _merged(positions, kind, quadrics, edges)
        cheapest = np.argsort(cost, kind="stable")
        limit = min(most, len(corners) // ROUND + 2)
        alive = collapse(positions, corners, kind, quadrics, edges[cheapest], target[cheapest], limit)
        removed = len(corners) - int(alive.sum())
        corners, most = corners[alive], most - removed
    used, index = np.unique(corners, return_inverse=True)
    return torch.from_numpy(positions[used].astype(np.float32)), torch.from_numpy(index.reshape(-1, 3))


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends of the edges in order, how many faces each has, and how many more run along it than against it."""
    start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
    low, size = np.minimum(start, end), int(faces.max()) + 1
    key, index, count = np.unique(low * size + np.maximum(start, end), return_inverse=True, return_counts=True)
    return np.stack([key // size, key % size], -1), count, np.bincount(index, np.where(start == low, 1, -1))


def _kinds(faces: np.ndarray, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """FREE, BORDER or LOCKED per vertex, and the ends of the border edges."""
    edges, count, net = _edges(faces)
    border, kind = edges[count == 1], np.full(vertices, FREE)
    kind[border] = BORDER
    kind[edges[(count > 2) | ((count == 2) & (net != 0))]] = LOCKED
    return kind, border


def _quadrics(positions: np.ndarray, faces: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Ten coefficients per vertex: the error of a position as a quadratic form."""
    a, b, c = (positions[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    planes = [(faces.T, normal, a, area)]
    planes += [(faces[:, k], np.eye(3)[axis], positions[faces[:, k]], ROUNDNESS * area) for k in range(3) for axis in range(3)]
    if len(border):
        # upright: along the normal of the edge's only face, which the mean of the faces at its ends stands for
        mean = np.stack([np.bincount(faces.ravel(), np.repeat(row, 3), len(positions)) for row in normal.T], 1)
        side = positions[border[:, 1]] - positions[border[:, 0]]
        upright = np.cross(mean[border].sum(1), side)
        planes.append((border.T, upright, positions[border[:, 0]], BORDER_WEIGHT * (side**2).sum(1)))
    total = np.zeros((len(positions), 10))
    for where, direction, point, weight in planes:
        x, y, z = np.broadcast_to(
            direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-300), point.shape
        ).T
        d = -(x * point[:, 0] + y * point[:, 1] + z * point[:, 2])
        for index, row in enumerate((x * x, x * y, x * z, y * y, y * z, z * z, x * d, y * d, z * d, d * d)):
            total[:, index] += np.bincount(where.ravel(), np.resize(weight * row, where.size), len(positions))
    return total


def _merged(positions: np.ndarray, kind: np.ndarray, quadrics: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The error after the collapse of each edge, and where the merged vertex goes: a vertex on a border stays where it is."""
    u, v = edges.T
    q = (quadrics[u] + quadrics[v]).T
    # adjugate of the symmetric 3 x 3 matrix
    xx, xy, xz = q[3] * q[5] - q[4] * q[4], q[2] * q[4] - q[1] * q[5], q[1] * q[4] - q[2] * q[3]
    yy, yz, zz = q[0] * q[5] - q[2] * q[2], q[1] * q[2] - q[0] * q[4], q[0] * q[3] - q[1] * q[1]
    determinant = q[0] * xx + q[1] * xy + q[2] * xz
    solvable = (determinant > 1e-12 * (q[0] + q[3] + q[5]) ** 3) & (kind[u] == kind[v])
    least = -np.stack(
        [xx * q[6] + xy * q[7] + xz * q[8], xy * q[6] + yy * q[7] + yz * q[8], xz * q[6] + yz * q[7] + zz * q[8]], -1
    )
    end = positions[np.where(kind[u] > kind[v], u, v)]
    target = np.where(solvable[:, None], least / np.where(solvable, determinant, 1)[:, None], end)
    x, y, z = target.T
    square = q[0] * x * x + q[3] * y * y + q[5] * z * z + 2 * (q[1] * x * y + q[2] * x * z + q[4] * y * z)
    return square + 2 * (q[6] * x + q[7] * y + q[8] * z) + q[9], target
