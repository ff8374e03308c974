"""Signed distances to a triangle mesh: closest points for the size, winding numbers for the sign."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.closest import SurfaceIndex
from threefusion.types import Mesh

PAIRS = 1 << 21
"""Pairs of a point and a face tested at once."""
BINS = 256
"""Columns of space along each axis of a projection."""
MOST_ENTRIES = 1 << 23
"""Entries of faces in columns; large faces get wider columns."""
DIRECTIONS = 3
"""Rays per point: their mean decides where a mesh has holes."""


def signed_distance(mesh: Mesh, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
    """Distance to the surface, negative inside, on the points' device; without gradient.

    Inside is what the surface winds round (Jacobson et al., SIGGRAPH 2013): overlapping parts are joined, small holes do no harm.
    """
    distance = SurfaceIndex(mesh).closest(points).distance
    inside = winding_number(mesh, points).abs() > 0.5
    return torch.where(inside, -distance, distance)[:, None].to(points.device)


def winding_number(mesh: Mesh, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """How often the surface winds round each point, on the CPU: 1 inside, 0 outside of a closed mesh with outward winding.

    The faces that a ray leaves through minus those it enters through, averaged over `DIRECTIONS` rays.
    """
    corners = mesh.vertices.detach().double().cpu()[mesh.faces.cpu()].numpy()
    targets = points.detach().double().cpu().numpy()
    # in general directions, so that no ray meets an edge of a mesh that lies along the axes
    turns = scipy.spatial.transform.Rotation.random(DIRECTIONS, rng=np.random.default_rng(0)).as_matrix()
    total = sum(_crossings(corners @ turn.T, targets @ turn.T) for turn in turns)
    return torch.from_numpy(total / DIRECTIONS).float()


def _crossings(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Signed number of faces that the ray upwards from each point passes through."""
    counts = np.zeros(len(points))
    if len(corners) == 0 or len(points) == 0:
        return counts
    low, high = corners[..., :2].min((0, 1)), corners[..., :2].max((0, 1))
    inside = ((points[:, :2] >= low) & (points[:, :2] <= high)).all(1).nonzero()[0]
    bins, faces_of = _columns(corners, low, high)
    face, start = faces_of
    column = _cell(points[inside, :2], low, high, bins) @ (bins, 1)
    amount = start[column + 1] - start[column]
    for part in np.array_split(np.arange(len(inside)), 1 + int(amount.sum()) // PAIRS):
        owner = np.repeat(part, amount[part])
        first = start[column[part]]
        position = np.arange(len(owner)) + np.repeat(first - (amount[part].cumsum() - amount[part]), amount[part])
        signs = _passes(corners[face[position]], points[inside[owner]])
        counts += np.bincount(inside[owner], signs, len(points))
    return counts


def _columns(corners: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
    """Bins along an axis; the faces that reach into each column, and where the list of each column starts."""
    bins = BINS
    while True:
        first = _cell(corners[..., :2].min(1), low, high, bins)
        extent = _cell(corners[..., :2].max(1), low, high, bins) - first + 1
        amount = extent.prod(1)
        if amount.sum() <= MOST_ENTRIES or bins == 1:
            break
        bins //= 2
    face = np.repeat(np.arange(len(corners)), amount)
    offset = np.arange(len(face)) - np.repeat(amount.cumsum() - amount, amount)
    column = (first[face, 0] + offset // extent[face, 1]) * bins + first[face, 1] + offset % extent[face, 1]
    order = np.argsort(column, kind="stable")
    return bins, (face[order], np.searchsorted(column[order], np.arange(bins * bins + 1)))


def _cell(xy: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each point along both axes."""
    return ((xy - low) / np.maximum(high - low, 1e-30) * bins).astype(np.int64).clip(0, bins - 1)


def _passes(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """1 where the ray upwards leaves through the face, -1 where it enters, 0 where it misses."""
    relative = corners - points[:, None]
    x, y = relative[..., 0], relative[..., 1]
    turns = [x[:, i] * y[:, j] - x[:, j] * y[:, i] for i, j in ((1, 2), (2, 0), (0, 1))]
    area = sum(turns)
    hit = (np.stack(turns) > 0).all(0) | (np.stack(turns) < 0).all(0)
    height = sum(turn * relative[:, corner, 2] for corner, turn in enumerate(turns)) / np.where(area == 0, 1, area)
    return np.where(hit & (height > 0), np.sign(area), 0)
