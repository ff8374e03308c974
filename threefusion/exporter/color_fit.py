"""Colours of a mesh fitted to renders of its scene.

A field shows other colours than those on or under its surface: rays are absorbed over a depth, slanted ones nearer to the
surface than those that enter perpendicularly, and every camera has its own slant. What matters is what cameras see, so the
baked colours are corrected by offsets at the vertices, which are found by linear least squares over the pixels of renders from
all sides. They are smooth over the distance between pixels, so that details remain those of the bake.
"""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.projection import clip_coordinates
from threefusion.exporter.fidelity import FieldViews
from threefusion.exporter.preview import base_color_at
from threefusion.ops.rasterize import rasterize
from threefusion.types import Mesh

ELEVATIONS = (5.0, -25.0, 30.0, 55.0, -50.0)
"""Of the views, in degrees: bands of the sphere of about the same area, a little from above as objects are seen."""
SMOOTHNESS = 0.3
"""Weight of squared differences along edges, against 1 for the square of a pixel's residual."""
SMALLNESS = 1e-3
"""Weight of squared offsets: parts that no view shows keep their colours."""
ACCURACY = 1e-4
"""Residual of the equations at which the solution ends, in relation to the right side; a byte's step is 30 times as much."""
MOST_STEPS = 500


def color_offsets(mesh: Mesh, views: FieldViews) -> Float[Tensor, "V 3"]:
    """What to add to the base colours of a mesh with uv or colours so that it looks as the scene does in the views.

    Interpolated over the faces; vertices at one position have one offset, so seams stay closed.
    """
    index = torch.unique(mesh.vertices, dim=0, return_inverse=True)[1]
    seen, residual = _equations(mesh, index, views)
    count = seen.shape[1]
    # the normal equations, with differences along the edges
    matrix = seen.T @ seen + SMOOTHNESS * _laplacian(index[mesh.faces].numpy(), count) + SMALLNESS * scipy.sparse.identity(count)
    return torch.from_numpy(_solution(matrix.tocsr(), seen.T @ residual).astype(np.float32))[index]


def _equations(mesh: Mesh, index: Tensor, views: FieldViews) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """For every pixel in which both show the object: weights of the vertices, and by how much the scene is brighter."""
    camera = views.batch.camera
    fragments = rasterize(clip_coordinates(mesh.vertices, camera), mesh.faces, camera.height, camera.width)
    both = (fragments.face >= 0) & views.mask[..., 0]
    residual = (views.albedo - base_color_at(mesh, fragments))[both].double().numpy()
    columns = index[mesh.faces[fragments.face[both]]].numpy()
    rows = np.repeat(np.arange(len(columns)), 3)
    weights = fragments.barycentric[both].double().numpy()
    shape = (len(columns), int(index.max()) + 1)
    return scipy.sparse.csr_matrix((weights.ravel(), (rows, columns.ravel())), shape=shape), residual


def _laplacian(faces: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    """The matrix L with x' L x = sum of squared differences of x along the edges."""
    links = scipy.sparse.csr_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, -1, 1).ravel())), shape=(count, count))
    links = ((links + links.T) > 0).astype(np.float64)
    links.setdiag(0)
    return scipy.sparse.diags(np.asarray(links.sum(1)).ravel()) - links


def _solution(matrix: scipy.sparse.csr_matrix, right: np.ndarray) -> np.ndarray:
    """x with matrix x = right, by conjugate gradients; numpy's sums do not depend on the number of threads, BLAS's do."""
    inverse = 1 / matrix.diagonal()[:, None]
    x, rest = np.zeros_like(right), right
    direction, before, goal = inverse * rest, None, ACCURACY * np.abs(right).max(0)
    for _ in range(MOST_STEPS):
        square = (rest * inverse * rest).sum(0)
        if before is not None:
            direction = inverse * rest + square / np.maximum(before, 1e-300) * direction
        moved = matrix @ direction
        step = square / np.maximum((direction * moved).sum(0), 1e-300)
        x, rest, before = x + step * direction, rest - step * moved, square
        if (np.abs(rest).max(0) <= goal).all():
            break
    return x
