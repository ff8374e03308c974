"""Texture coordinates in bounded time: uvunwrap, else a chart for every two faces."""

from __future__ import annotations

import logging
from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor

from threefusion.types import Mesh

logger = logging.getLogger(__name__)

PADDING = 4
"""Texels between charts: two on either side, so that a bilinear look-up at a chart's edge never reads its neighbour's colour."""


def unwrap(mesh: Mesh, texture_size: int, seconds: float = 60.0) -> Mesh:
    """The mesh with `uv` in [0, 1]² without overlaps, in at most about `seconds`; vertices are split along the seams.

    uvunwrap scales u by the atlas's width and v by its height, which differ by a few texels: the texture is square.
    """
    try:
        corners = _uvunwrap(mesh, texture_size, seconds)
    except Exception as error:
        # whatever it dislikes about a mesh (it may raise anything), the simple layout takes over
        logger.warning("uvunwrap could not unwrap the mesh (%s: %s); every two faces get a chart", type(error).__name__, error)
        corners = _two_faces_per_chart(mesh, texture_size)
    return _split(mesh, *corners)


def _split(mesh: Mesh, source: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> Mesh:
    """The mesh on new vertices, of which number i is a copy of vertex `source[i]` at `uv[i]`."""
    copied = torch.from_numpy(source.astype(np.int64))
    return Mesh(
        vertices=mesh.vertices[copied],
        faces=torch.from_numpy(faces.astype(np.int64)),
        normals=None if mesh.normals is None else mesh.normals[copied],
        uv=torch.from_numpy(uv.astype(np.float32)).clamp(0, 1),
    )


def _uvunwrap(mesh: Mesh, texture_size: int, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source vertices, faces and uv by the uvunwrap package; no chart is mirrored."""
    import uvunwrap

    surface = uvunwrap.Mesh(mesh.vertices.numpy(), mesh.faces.int().numpy())
    job = uvunwrap.start([surface], page_size=texture_size, padding=PADDING)
    try:
        atlas = job.result(timeout=seconds)
    except TimeoutError:
        job.cancel()
        raise
    if atlas.page_count != 1:
        raise ValueError(f"{atlas.page_count} pages instead of one")
    charts = atlas.meshes[0]
    return np.array(charts.xref), np.array(charts.indices).reshape(-1, 3), np.array(charts.uv).reshape(-1, 2)


def _two_faces_per_chart(mesh: Mesh, texture_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same without any geometry: a square grid of cells, each cut along its diagonal for two faces."""
    count = len(mesh.faces)
    side = ceil(sqrt((count + 1) // 2))
    face = torch.arange(count)
    cell = torch.stack([face // 2 % side, face // 2 // side], -1)
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])[face % 2]
    # a texel of air round each triangle, but never more than a fifth of the cell
    margin = min(side / texture_size, 0.2)
    center = torch.tensor([[0.3, 0.3], [0.7, 0.7]])[face % 2][:, None]
    uv = (cell[:, None] + center + (corners - center) * (1 - 3 * margin)) / side
    return _flat(mesh.faces), np.arange(3 * count).reshape(-1, 3), _flat(uv).reshape(-1, 2)


def _flat(values: Tensor) -> np.ndarray:
    """All values in one row."""
    return values.reshape(-1).numpy()
