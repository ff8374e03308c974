"""Topology of surfaces on CPUs, in time proportional to the grid or the mesh: edges are found by their first end, not sorted."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.marching_tetrahedra import COUNT, EDGES, TRIANGLES
from threefusion.ops.numba_kernels.compile import array, check_indices, compiled
from threefusion.ops.parallel import run

Pairs = Int[Tensor, "E 2"]
Faces = Int[Tensor, "F 3"]

OUT_OF_RANGE = 16
"""Case of a tetrahedron with a corner that does not exist."""
LEFT, RIGHT = 1, 2
"""The side on which a silhouette has its faces."""
FEW = 64
"""Edges of a vertex up to which insertion is the faster sort; it is quadratic, and the hub of a fan has one per face."""
_ENDS = np.array(EDGES)[TRIANGLES.numpy()]
"""The two corners at the ends of each edge of each triangle of each case, [16 2 3 2]."""
_COUNT = COUNT.numpy()


def crossed_edges(inside: Bool[Tensor, "V"], tets: Int[Tensor, "T 4"]) -> tuple[Pairs, Faces]:
    """The edges with one end inside, each once and in order, and the triangles between them."""
    corners, case, active = array(tets.int()), np.empty(len(tets), np.uint8), np.empty(len(tets), np.int32)
    run(_classify, array(inside).view(np.uint8), corners, case)
    single, double = _select(case, _COUNT, active)
    if single < 0:
        raise IndexError(f"a tetrahedron has a corner that is not in [0, {len(inside)})")
    active = active[:single]
    faces = np.empty((single + double, 3), np.int64)
    edges = np.empty((3 * single + double, 2), np.int64)
    count = _triangles(active, case, corners, _ENDS, _COUNT, len(inside), faces, edges)
    return torch.from_numpy(edges[:count].copy()), torch.from_numpy(faces)


def mesh_edges(faces: Faces) -> tuple[Pairs, Pairs]:
    """Ends and faces of the edges, as `MeshEdges` has them."""
    vertices = int(faces.max()) + 1 if len(faces) else 0
    check_indices(faces, vertices)
    ends, half = (np.empty((3 * len(faces), 2), np.int64) for _ in range(2))
    count = _pair_faces(array(faces), vertices, ends, half)
    return torch.from_numpy(ends[:count].copy()), torch.from_numpy(half[:count].copy())


def silhouettes(clip: Float[Tensor, "B V 4"], faces: Faces, half: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """View and edge of the edges with all their faces on one side, and whether that is the left."""
    check_indices(faces, clip.shape[1])
    check_indices(half, 2 * len(faces), -1)
    towards, left = np.empty((len(clip), len(faces)), np.bool_), np.empty((len(clip), len(half)), np.int8)
    run(_facing, array(clip), array(faces), towards)
    run(_sides, towards, array(half), left)
    view, edge = np.nonzero(left)
    return torch.from_numpy(view), torch.from_numpy(edge), torch.from_numpy(left[view, edge] == LEFT)


@compiled
@no_type_check
def _facing(part, parts, clip, faces, towards):
    """Whether each face shows its front."""
    total = len(faces)
    for view in range(len(clip)):
        for face in range(total * part // parts, total * (part + 1) // parts):
            i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
            ax, ay, aw = np.float64(clip[view, i, 0]), np.float64(clip[view, i, 1]), np.float64(clip[view, i, 3])
            bx, by, bw = np.float64(clip[view, j, 0]), np.float64(clip[view, j, 1]), np.float64(clip[view, j, 3])
            cx, cy, cw = np.float64(clip[view, k, 0]), np.float64(clip[view, k, 1]), np.float64(clip[view, k, 3])
            towards[view, face] = (ay * bw - aw * by) * cx + (aw * bx - ax * bw) * cy + (ax * by - ay * bx) * cw > 0


@compiled
@no_type_check
def _sides(part, parts, towards, half, left):
    """LEFT or RIGHT for silhouettes, 0 for other edges."""
    total = len(half)
    for view in range(len(towards)):
        for edge in range(total * part // parts, total * (part + 1) // parts):
            first, second = half[edge, 0], half[edge, 1]
            side = towards[view, first >> 1] == (first & 1)
            silhouette = second < 0 or side == (towards[view, max(second, 0) >> 1] == (second & 1))
            left[view, edge] = (LEFT if side else RIGHT) if silhouette else 0


@compiled
@no_type_check
def _classify(part, parts, inside, tets, case):
    """Which corners of each tetrahedron are inside, as bits."""
    # unsigned: negative indices are large ones, and none is counted from the end
    vertices, total = np.uint64(len(inside)), len(tets)
    for tet in range(total * part // parts, total * (part + 1) // parts):
        a, b, c, d = np.uint32(tets[tet, 0]), np.uint32(tets[tet, 1]), np.uint32(tets[tet, 2]), np.uint32(tets[tet, 3])
        if (a >= vertices) | (b >= vertices) | (c >= vertices) | (d >= vertices):
            case[tet] = OUT_OF_RANGE
        else:
            case[tet] = inside[a] | inside[b] << 1 | inside[c] << 2 | inside[d] << 3


@compiled
@no_type_check
def _select(case, count, active):
    """Collect the tetrahedra with triangles; how many have one, and how many a second one; -1 if a corner is out of range."""
    single, double = 0, 0
    for tet in range(len(case)):
        if case[tet] == OUT_OF_RANGE:
            return -1, -1
        active[single] = tet
        single += count[case[tet]] > 0
        double += count[case[tet]] > 1
    return single, double


@compiled
@no_type_check
def _triangles(active, case, tets, ends, count, vertices, faces, edges):
    """Fill in faces and edges; second triangles follow after all first ones. Returns the number of edges."""
    # edges as linked lists by their first end
    newest, older, second = np.full(vertices, -1, np.int32), np.empty(len(edges), np.int32), np.empty(len(edges), np.int64)
    used, row = 0, 0
    for index in range(2):
        for tet in active:
            if count[case[tet]] > index:
                for corner in range(3):
                    pair = ends[case[tet], index, corner]
                    a, b = tets[tet, pair[0]], tets[tet, pair[1]]
                    low, high = min(a, b), max(a, b)
                    edge = newest[low]
                    while edge >= 0 and second[edge] != high:
                        edge = older[edge]
                    if edge < 0:
                        edge, second[used], older[used], newest[low] = used, high, newest[low], used
                        used += 1
                    faces[row, corner] = edge
                row += 1
    return _in_order(newest, older, second, faces, edges, used)


@compiled
@no_type_check
def _in_order(newest, older, second, faces, edges, used):
    """Number the edges by their ends instead of in the order in which they were met."""
    number, done = np.empty(used, np.int64), 0
    for low in range(len(newest)):
        start, edge = done, newest[low]
        while edge >= 0:
            # insertion: a vertex has few edges
            position = done
            while position > start and second[edges[position - 1, 1]] > second[edge]:
                edges[position, 1] = edges[position - 1, 1]
                position -= 1
            edges[position, 1] = edge
            done += 1
            edge = older[edge]
        for position in range(start, done):
            number[edges[position, 1]] = position
            edges[position, 0], edges[position, 1] = low, second[edges[position, 1]]
    for row in range(len(faces)):
        for corner in range(3):
            faces[row, corner] = number[faces[row, corner]]
    return used


@compiled
@no_type_check
def _pair_faces(faces, vertices, ends, half):
    """Fill in ends and half edges; returns the number of edges."""
    begin = np.zeros(vertices + 2, np.int64)
    for face in range(len(faces)):
        for corner in range(3):
            begin[min(faces[face, corner], faces[face, (corner + 1) % 3]) + 2] += 1
    for vertex in range(vertices):
        begin[vertex + 2] += begin[vertex + 1]
    # sides by their first end, in the order of the faces
    second, side = np.empty(3 * len(faces), np.int64), np.empty(3 * len(faces), np.int64)
    for face in range(len(faces)):
        for corner in range(3):
            a, b = faces[face, corner], faces[face, (corner + 1) % 3]
            slot = begin[min(a, b) + 1]
            second[slot], side[slot] = max(a, b), 2 * face + (a < b)
            begin[min(a, b) + 1] += 1
    count = 0
    for low in range(vertices):
        first, last = begin[low], begin[low + 1]
        _sort(second, side, first, last)
        slot = first
        while slot < last:
            paired = slot + 1 < last and second[slot + 1] == second[slot]
            ends[count, 0], ends[count, 1] = low, second[slot]
            half[count, 0], half[count, 1] = side[slot], side[slot + 1] if paired else -1
            slot += 2 if paired else 1
            count += 1
    return count


@compiled
@no_type_check
def _sort(keys, values, first, last):
    """Sort, stable; by insertion where a vertex has few edges, as most have."""
    if last - first > FEW:
        order = first + np.argsort(keys[first:last], kind="mergesort")
        keys[first:last], values[first:last] = keys[order], values[order]
        return
    for i in range(first + 1, last):
        key, value, j = keys[i], values[i], i
        while j > first and keys[j - 1] > key:
            keys[j], values[j] = keys[j - 1], values[j - 1]
            j -= 1
        keys[j], values[j] = key, value
