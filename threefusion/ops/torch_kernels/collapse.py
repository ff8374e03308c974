"""Edge collapses in plain Python: the reference, and what runs where numba is missing."""

from __future__ import annotations

from math import sqrt

import numpy as np

FREE, BORDER, LOCKED = 0, 1, 2
"""Vertices inside the surface, on the border of an open one, and at an edge of three faces or of uneven winding."""
LEAST_COSINE = 0.3
"""Least cosine of the angle by which a collapse may turn a face."""
LEAST_SHAPE = 0.05
"""Least ratio of twice a face's area to the square of its longest side, unless a face there was worse before."""


def collapse(
    positions: np.ndarray,
    faces: np.ndarray,
    kind: np.ndarray,
    quadrics: np.ndarray,
    edges: np.ndarray,
    targets: np.ndarray,
    most: int,
) -> np.ndarray:
    """Which faces are left when the edges were collapsed in turn, each to its target, until `most` faces have vanished.

    Edges that topology or shape forbid are left out, and so are those of vertices that have moved. The arrays of vertices and
    faces are changed in place.
    """
    corners, points = faces.tolist(), positions.tolist()
    around: list[set[int]] = [set() for _ in points]
    for face, vertices in enumerate(corners):
        for vertex in vertices:
            around[vertex].add(face)
    alive, moved = np.ones(len(faces), np.bool_), set()
    for (u, v), target in zip(edges.tolist(), targets.tolist(), strict=True):
        free = u not in moved and v not in moved and _keeps_topology(corners, around, kind, u, v)
        if not (free and _keeps_shape(points, corners, around, (u, v), target)):
            continue
        moved |= {u, v}
        for face in around[u] & around[v]:
            alive[face] = False
            for vertex in corners[face]:
                around[vertex].discard(face)
        for face in around[v]:
            corners[face] = [u if vertex == v else vertex for vertex in corners[face]]
        around[u], around[v] = around[u] | around[v], set()
        points[u], kind[u] = target, max(kind[u], kind[v])
        quadrics[u] += quadrics[v]
        if len(faces) - int(alive.sum()) >= most:
            break
    faces[:], positions[:] = corners, points
    return alive


def _keeps_topology(corners: list[list[int]], around: list[set[int]], kind: np.ndarray, u: int, v: int) -> bool:
    """The link condition: u and v have no common neighbours but the corners opposite their edge, and no common border."""
    first, second = ({vertex for face in around[end] for vertex in corners[face]} - {u, v} for end in (u, v))
    between = len(around[u] & around[v])
    if LOCKED in (kind[u], kind[v]) or (kind[u] == kind[v] == BORDER and between == 2):
        return False
    # the last faces of a part: an opposite corner would be left with two faces back to back
    enough = all(len(around[other]) > (1 if kind[other] == BORDER else 3) for other in first & second)
    return len(first & second) == between and enough


def _keeps_shape(
    points: list[list[float]], corners: list[list[int]], around: list[set[int]], edge: tuple[int, int], x: list[float]
) -> bool:
    """Whether no face turns far when both ends of an edge move to x, and the worst of them does not become a worse sliver."""
    worst_before, worst = 1.0, 1.0
    for end in edge:
        for face in around[end]:
            k = corners[face].index(end)
            i, j = corners[face][(k + 1) % 3], corners[face][(k + 2) % 3]
            before, shape_before = _normal(points[end], points[i], points[j])
            worst_before = min(worst_before, shape_before)
            if {i, j}.isdisjoint(edge):
                now, shape = _normal(x, points[i], points[j])
                worst = min(worst, shape)
                if shape_before > 0 and before[0] * now[0] + before[1] * now[1] + before[2] * now[2] < LEAST_COSINE:
                    return False
    return worst > 0 and worst >= min(worst_before, LEAST_SHAPE)


def _normal(a: list[float], b: list[float], c: list[float]) -> tuple[list[float], float]:
    """Unit normal of a triangle, 0 if it has no area, and twice the area over the square of its longest side."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    double = sqrt(x * x + y * y + z * z)
    if double == 0:
        return [0.0, 0.0, 0.0], 0.0
    longest = max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, (ux - vx) ** 2 + (uy - vy) ** 2 + (uz - vz) ** 2)
    return [x / double, y / double, z / double], double / longest
