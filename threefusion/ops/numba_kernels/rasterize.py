"""Rasterization on CPUs with a depth buffer.

Threads take disjoint image rows, and in the scattering backward passes disjoint vertices: each vertex adds up its pixels in the
order of the image, so that sums do not depend on the number of threads. Arithmetic is in float64.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, check_indices, compiled
from threefusion.ops.parallel import run
from threefusion.ops.rasterize import DEPTH_STEPS, EMPTY, FRONT, SLACK

Faces = Int[Tensor, "F 3"]
Ids = Int[Tensor, "B H W"]
Weights = Float[Tensor, "B H W 3"]


def nearest_face(clip: Float[Tensor, "B V 4"], faces: Faces, height: int, width: int, cull: bool) -> Ids:
    """Id of the nearest face at each pixel centre, -1 for the background; `clip` is float64."""
    check_indices(faces, clip.shape[1])
    words = torch.full((len(clip), height, width), EMPTY, dtype=torch.int64)
    screen = clip.new_empty(*clip.shape[:2], 2)
    run(_project, array(clip).reshape(-1, 4), height, width, array(screen).reshape(-1, 2))
    run(_draw, array(clip), array(screen), array(faces), cull, array(words))
    return words


def barycentrics(clip: Float[Tensor, "B V 4"], faces: Faces, face: Ids) -> tuple[Weights, Float[Tensor, "B H W"]]:
    """Barycentric coordinates and depth of each pixel's face."""
    check_indices(faces, clip.shape[1])
    weights, depth = clip.new_zeros(*face.shape, 3), clip.new_ones(face.shape)
    run(_barycentrics, array(clip), array(faces), array(face), array(weights), array(depth))
    return weights, depth


def barycentrics_backward(
    for_weights: Weights, for_depth: Float[Tensor, "B H W"], clip: Float[Tensor, "B V 4"], faces: Faces, face: Ids
) -> Float[Tensor, "B V 4"]:
    """Gradient with respect to the clip coordinates."""
    out = clip.new_zeros(clip.shape, dtype=torch.float64)
    run(_barycentrics_backward, array(for_weights), array(for_depth), array(clip), array(faces), array(face), array(out))
    return out.to(clip.dtype)


@compiled
@no_type_check
def _bounded(value, low, high):
    """Clamp before the conversion to an integer, which would overflow."""
    return np.int64(min(max(value, np.float64(low)), np.float64(high)))


@compiled
@no_type_check
def _project(part, parts, clip, height, width, screen):
    """Pixel coordinates of the vertices, NaN for those behind the camera."""
    total = len(clip)
    for i in range(total * part // parts, total * (part + 1) // parts):
        if clip[i, 3] > FRONT:
            scale = 0.5 / clip[i, 3]
            screen[i, 0], screen[i, 1] = (0.5 + clip[i, 0] * scale) * width, (0.5 - clip[i, 1] * scale) * height
        else:
            screen[i, 0] = screen[i, 1] = np.nan


@compiled
@no_type_check
def _in_view(a, b, c):
    """Whether the corners are not all beyond the same side of the view."""
    for axis in range(3):
        if not (a[axis] <= a[3] or b[axis] <= b[3] or c[axis] <= c[3]):
            return False
        if not (a[axis] >= -a[3] or b[axis] >= -b[3] or c[axis] >= -c[3]):
            return False
    return True


@compiled
@no_type_check
def _span(a, b, c, first, last):
    """Pixels from `first` to `last` whose centres lie between the smallest and the largest coordinate."""
    low, high = np.ceil(min(a, b, c) - (0.5 + SLACK)), np.floor(max(a, b, c) - (0.5 - SLACK))
    return _bounded(low, first, last + 1), _bounded(high, first - 1, last)


@compiled
@no_type_check
def _draw(part, parts, clip, screen, faces, cull, words):
    views, height, width = words.shape
    top, bottom = height * part // parts, height * (part + 1) // parts
    centers = (2.0 * np.arange(width) + 1) / width - 1
    for view in range(views):
        for face in range(len(faces)):
            i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
            px, qx, rx = screen[view, i, 0], screen[view, j, 0], screen[view, k, 0]
            py, qy, ry = screen[view, i, 1], screen[view, j, 1], screen[view, k, 1]
            first, last, left, right = top, bottom - 1, 0, width - 1
            total = px + qx + rx + py + qy + ry
            projected = total == total
            if projected:
                first, last = _span(py, qy, ry, top, bottom - 1)
                left, right = _span(px, qx, rx, 0, width - 1)
            if first <= last and left <= right:
                # tuples stay in registers
                a, b, c = _corner(clip, view, i), _corner(clip, view, j), _corner(clip, view, k)
                if projected or _in_view(a, b, c):
                    _fill((a, b, c), face, (first, last, left, right), centers, cull, words, view)
        for row in range(top, bottom):
            for column in range(width):
                word = words[view, row, column]
                words[view, row, column] = -1 if word == EMPTY else word & 0xFFFFFFFF


@compiled
@no_type_check
def _fill(corners, face, box, centers, cull, words, view):
    """Draw one face into a rectangle of the depth buffer."""
    (a, b, c), (first, last, left, right) = corners, box
    least = 0.0 if cull else -np.inf
    for row in range(first, last + 1):
        y = 1 - (2.0 * row + 1) / words.shape[1]
        ay, by, cy = a[1] - y * a[3], b[1] - y * b[3], c[1] - y * c[3]
        for column in range(left, right + 1):
            x = centers[column]
            ax, bx, cx = a[0] - x * a[3], b[0] - x * b[3], c[0] - x * c[3]
            u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            scale = u * a[3] + v * b[3] + w * c[3]
            depth = (u * a[2] + v * b[2] + w * c[2]) / scale
            # selections instead of branches, which the processor would mispredict; degenerate faces have no depth
            inside = (u * scale >= 0) & (v * scale >= 0) & (w * scale >= 0)
            hit = inside & (abs(depth) <= 1) & (scale > least)
            word = np.int64((depth + 1) * (0.5 * DEPTH_STEPS)) << 32 | face
            words[view, row, column] = min(words[view, row, column], word if hit else EMPTY)


@compiled
@no_type_check
def _weights(a, b, c, x, y):
    """Corners relative to a pixel centre, and the unnormalised barycentric coordinates there."""
    ax, bx, cx = a[0] - x * a[3], b[0] - x * b[3], c[0] - x * c[3]
    ay, by, cy = a[1] - y * a[3], b[1] - y * b[3], c[1] - y * c[3]
    return (ax, bx, cx), (ay, by, cy), (bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx)


@compiled
@no_type_check
def _corner(clip, view, vertex):
    """Clip coordinates in float64."""
    x, y, z, w = clip[view, vertex, 0], clip[view, vertex, 1], clip[view, vertex, 2], clip[view, vertex, 3]
    return np.float64(x), np.float64(y), np.float64(z), np.float64(w)


@compiled
@no_type_check
def _barycentrics(part, parts, clip, faces, face, weights, depth):
    views, height, width = face.shape
    for line in range(views * height * part // parts, views * height * (part + 1) // parts):
        view, row = divmod(line, height)
        y = 1 - (2.0 * row + 1) / height
        for column in range(width):
            if face[view, row, column] >= 0:
                of_pixel = face[view, row, column]
                i, j, k = faces[of_pixel, 0], faces[of_pixel, 1], faces[of_pixel, 2]
                a, b, c = _corner(clip, view, i), _corner(clip, view, j), _corner(clip, view, k)
                _, _, (u, v, w) = _weights(a, b, c, (2.0 * column + 1) / width - 1, y)
                total = u + v + w
                if total != 0:
                    scale, out = 1 / total, weights[view, row, column]
                    out[0], out[1], out[2] = u * scale, v * scale, w * scale
                    depth[view, row, column] = (u * a[2] + v * b[2] + w * c[2]) / (u * a[3] + v * b[3] + w * c[3])


@compiled
@no_type_check
def _barycentrics_backward(part, parts, for_weights, for_depth, clip, faces, face, out):
    """Threads take disjoint ranges of the vertices of all views, and skip the pixels of other vertices."""
    views, height, width = face.shape
    vertices = clip.shape[1]
    begin, end = views * vertices * part // parts, views * vertices * (part + 1) // parts
    for view in range(begin // vertices, views):
        low, high = begin - view * vertices, end - view * vertices
        for row in range(height if high > 0 else 0):
            y = 1 - (2.0 * row + 1) / height
            for column in range(width):
                if face[view, row, column] >= 0:
                    of_pixel = face[view, row, column]
                    i, j, k = faces[of_pixel, 0], faces[of_pixel, 1], faces[of_pixel, 2]
                    if low <= i < high or low <= j < high or low <= k < high:
                        a, b, c = _corner(clip, view, i), _corner(clip, view, j), _corner(clip, view, k)
                        x = (2.0 * column + 1) / width - 1
                        weights = (
                            for_weights[view, row, column, 0],
                            for_weights[view, row, column, 1],
                            for_weights[view, row, column, 2],
                        )
                        for_corners = _corner_gradients(a, b, c, x, y, weights, for_depth[view, row, column])
                        _add(out, view, i, low, high, for_corners[0])
                        _add(out, view, j, low, high, for_corners[1])
                        _add(out, view, k, low, high, for_corners[2])


@compiled
@no_type_check
def _add(out, view, vertex, low, high, gradient):
    if low <= vertex < high:
        out[view, vertex, 0] += gradient[0]
        out[view, vertex, 1] += gradient[1]
        out[view, vertex, 2] += gradient[2]
        out[view, vertex, 3] += gradient[3]


@compiled
@no_type_check
def _corner_gradients(a, b, c, x, y, for_weights, for_depth):
    """Gradients with respect to the three corners."""
    (ax, bx, cx), (ay, by, cy), (u, v, w) = _weights(a, b, c, x, y)
    total = u + v + w
    scale = 1 / total if total != 0 else 0.0
    u, v, w = u * scale, v * scale, w * scale
    per_w = 1 / (u * a[3] + v * b[3] + w * c[3]) if total != 0 else 0.0
    depth, slope = (u * a[2] + v * b[2] + w * c[2]) * per_w, for_depth * per_w
    # of the normalised, then of the unnormalised coordinates
    g = for_weights[0] + slope * (a[2] - depth * a[3])
    h = for_weights[1] + slope * (b[2] - depth * b[3])
    m = for_weights[2] + slope * (c[2] - depth * c[3])
    mean = g * u + h * v + m * w
    g, h, m = (g - mean) * scale, (h - mean) * scale, (m - mean) * scale
    return (
        _corner_gradient(by * m - cy * h, cx * h - bx * m, slope * u, x, y, depth),
        _corner_gradient(cy * g - ay * m, ax * m - cx * g, slope * v, x, y, depth),
        _corner_gradient(ay * h - by * g, bx * g - ax * h, slope * w, x, y, depth),
    )


@compiled
@no_type_check
def _corner_gradient(for_x, for_y, for_z, x, y, depth):
    """Gradient with respect to a corner, from those with respect to its position relative to the pixel and to its z."""
    return for_x, for_y, for_z, -x * for_x - y * for_y - depth * for_z
