"""Rasterization on CPUs with a depth buffer; threads take disjoint image rows."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, compiled
from threefusion.ops.parallel import run
from threefusion.ops.rasterize import DEPTH_STEPS, EMPTY


def nearest_face(corners: Float[Tensor, "F 3 3"], face_ids: Int[Tensor, "F"], height: int, width: int) -> Int[Tensor, "H W"]:
    """Id of the nearest face at each pixel centre, -1 for the background; `corners` as in the torch kernel."""
    words = torch.full((height, width), EMPTY, dtype=torch.int64)
    run(_draw, array(corners), array(face_ids), array(words))
    return torch.where(words == EMPTY, -1, words & 0xFFFFFFFF)


@compiled
@no_type_check
def _edge(a, b, x, y):
    """Twice the signed screen area of the triangle (a, b, (x, y))."""
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


@compiled
@no_type_check
def _bounded(value, low, high):
    """Clamp before the conversion to an integer, which would overflow."""
    return np.int64(min(max(value, np.float64(low)), np.float64(high)))


@compiled
@no_type_check
def _draw(part, parts, corners, face_ids, words):
    height, width = words.shape
    top, bottom = height * part // parts, height * (part + 1) // parts
    for face in range(len(face_ids)):
        a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
        first = _bounded(np.ceil(min(a[1], b[1], c[1]) - 0.5), top, bottom)
        last = _bounded(np.floor(max(a[1], b[1], c[1]) - 0.5), top - 1, bottom - 1)
        if first > last:
            continue
        left = _bounded(np.ceil(min(a[0], b[0], c[0]) - 0.5), 0, width)
        right = _bounded(np.floor(max(a[0], b[0], c[0]) - 0.5), -1, width - 1)
        area = _edge(a, b, c[0], c[1])
        for row in range(first, last + 1):
            for column in range(left, right + 1):
                x, y = column + 0.5, row + 0.5
                wa, wb, wc = _edge(b, c, x, y) / area, _edge(c, a, x, y) / area, _edge(a, b, x, y) / area
                if wa >= 0 and wb >= 0 and wc >= 0:
                    depth = wa * a[2] + wb * b[2] + wc * c[2]
                    if abs(depth) <= 1:
                        word = np.int64((depth + 1) * (0.5 * DEPTH_STEPS)) << 32 | face_ids[face]
                        words[row, column] = min(words[row, column], word)
