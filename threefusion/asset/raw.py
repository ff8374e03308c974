"""Triangles as a file has them, before they are moved into the scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RawPart:
    """Triangles of one material at one node, in the file's world."""

    name: str
    vertices: np.ndarray
    """`[V, 3]`, double precision."""
    faces: np.ndarray
    material: int | None
    primitive: tuple[int, int] = (0, 0)
    reversed: bool = False
    """As of `AssetPart`."""
    normals: np.ndarray | None = None
    uv: np.ndarray | None = None
    """With v up."""
    colors: np.ndarray | None = None
    """sRGB, `[V, 3]`."""


def has_area(uv: np.ndarray, faces: np.ndarray) -> bool:
    """Whether any face has an area in texture coordinates."""
    a, b, c = uv.astype(np.float64)[faces].transpose(1, 0, 2)
    return bool(np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).max(initial=0) > 1e-12)
