"""Edge collapses on linked lists of the faces at each vertex."""

from __future__ import annotations

from math import sqrt
from typing import no_type_check

import numpy as np

from threefusion.ops.numba_kernels.compile import compiled
from threefusion.ops.torch_kernels.collapse import BORDER, LEAST_COSINE, LEAST_SHAPE, LOCKED


@compiled
@no_type_check
def collapse(positions, faces, kind, quadrics, edges, targets, most):
    """As in `torch_kernels.collapse`."""
    first, after = _corner_lists(faces, len(positions))
    mesh = (positions, faces, first, after, kind, quadrics)
    alive, moved, mark = np.ones(len(faces), np.bool_), np.zeros(len(positions), np.bool_), np.zeros(len(positions), np.bool_)
    removed = 0
    for edge in range(len(edges)):
        u, v = edges[edge, 0], edges[edge, 1]
        x = (targets[edge, 0], targets[edge, 1], targets[edge, 2])
        free = not (moved[u] or moved[v]) and _keeps_topology(mesh, mark, u, v)
        if free and _keeps_shape(mesh, u, v, x):
            removed += _merge(mesh, alive, u, v, x)
            moved[u] = moved[v] = True
            if removed >= most:
                break
    return alive


@compiled
@no_type_check
def _corner_lists(faces, vertices):
    """The corners of faces (3 face + index) at every vertex as linked lists: the first, and the one after each."""
    first, after = np.full(vertices, -1, np.int64), np.full(faces.size, -1, np.int64)
    for corner in range(faces.size - 1, -1, -1):
        vertex = faces[corner // 3, corner % 3]
        after[corner] = first[vertex]
        first[vertex] = corner
    return first, after


@compiled
@no_type_check
def _keeps_topology(mesh, mark, u, v):
    """The link condition: u and v have no common neighbours but the corners opposite their edge, and no common border."""
    _, faces, first, after, kind, _ = mesh
    if kind[u] == LOCKED or kind[v] == LOCKED:
        return False
    between, corner = 0, first[u]
    while corner >= 0:
        for step in range(1, 3):
            other = faces[corner // 3, (corner % 3 + step) % 3]
            mark[other] = True
            between += other == v
        corner = after[corner]
    common, corner, enough = 0, first[v], True
    while corner >= 0:
        for step in range(1, 3):
            other = faces[corner // 3, (corner % 3 + step) % 3]
            common += mark[other]
            # the last faces of a part: an opposite corner would be left with two faces back to back
            enough = enough and (not mark[other] or _valence(first, after, other) > (1 if kind[other] == BORDER else 3))
            mark[other] = False
        corner = after[corner]
    corner = first[u]
    while corner >= 0:
        for step in range(3):
            mark[faces[corner // 3, step]] = False
        corner = after[corner]
    return common == between and enough and not (kind[u] == BORDER and kind[v] == BORDER and between == 2)


@compiled
@no_type_check
def _valence(first, after, vertex):
    """Number of faces at a vertex."""
    count, corner = 0, first[vertex]
    while corner >= 0:
        count += 1
        corner = after[corner]
    return count


@compiled
@no_type_check
def _keeps_shape(mesh, u, v, x):
    """Whether no face turns far when u and v move to x, and the worst of them does not become a worse sliver."""
    positions, faces, first, after, _, _ = mesh
    worst_before, worst = 1.0, 1.0
    for end in (u, v):
        old, corner = (positions[end, 0], positions[end, 1], positions[end, 2]), first[end]
        while corner >= 0:
            i, j = faces[corner // 3, (corner % 3 + 1) % 3], faces[corner // 3, (corner % 3 + 2) % 3]
            corner = after[corner]
            b = (positions[i, 0], positions[i, 1], positions[i, 2])
            c = (positions[j, 0], positions[j, 1], positions[j, 2])
            before = _normal(old, b, c)
            worst_before = min(worst_before, before[3])
            if i != u and i != v and j != u and j != v:
                now = _normal(x, b, c)
                worst = min(worst, now[3])
                if before[3] > 0 and before[0] * now[0] + before[1] * now[1] + before[2] * now[2] < LEAST_COSINE:
                    return False
    return worst > 0 and worst >= min(worst_before, LEAST_SHAPE)


@compiled
@no_type_check
def _normal(a, b, c):
    """Unit normal of a triangle, 0 if it has no area, and twice the area over the square of its longest side."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    double = sqrt(x * x + y * y + z * z)
    longest = max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz)
    longest = max(longest, (ux - vx) ** 2 + (uy - vy) ** 2 + (uz - vz) ** 2)
    if double == 0:
        return 0.0, 0.0, 0.0, 0.0
    return x / double, y / double, z / double, double / longest


@compiled
@no_type_check
def _merge(mesh, alive, u, v, x):
    """Move u to x and give it the faces of v; returns how many faces vanish."""
    positions, faces, first, after, kind, quadrics = mesh
    vanished, corner = 0, first[v]
    while corner >= 0:
        face, following = corner // 3, after[corner]
        if faces[face, 0] == u or faces[face, 1] == u or faces[face, 2] == u:
            for k in range(3):
                if faces[face, k] != v:
                    _unlink(first, after, faces[face, k], 3 * face + k)
            alive[face] = False
            vanished += 1
        else:
            faces[face, corner % 3] = u
            after[corner] = first[u]
            first[u] = corner
        corner = following
    first[v] = -1
    for axis in range(3):
        positions[u, axis] = x[axis]
    for index in range(10):
        quadrics[u, index] += quadrics[v, index]
    kind[u] = max(kind[u], kind[v])
    return vanished


@compiled
@no_type_check
def _unlink(first, after, vertex, gone):
    """Take a corner out of the list of its vertex."""
    if first[vertex] == gone:
        first[vertex] = after[gone]
        return
    corner = first[vertex]
    while after[corner] != gone:
        corner = after[corner]
    after[corner] = after[gone]
