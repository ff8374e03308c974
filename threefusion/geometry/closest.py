"""The closest point of a triangle mesh, for many points."""

from __future__ import annotations

from dataclasses import dataclass

import scipy
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.types import Mesh

SAMPLES = 200_000
"""Points on the surface that lead to the closest face."""
CANDIDATES = 6
"""Samples round a point whose faces are compared exactly."""
CHUNK = 1 << 16
"""Points compared with their candidates at once."""


@dataclass(frozen=True)
class Closest:
    """The closest point of a mesh for each of several points."""

    face: Int[Tensor, "N"]
    weights: Float[Tensor, "N 3"]
    """Barycentric coordinates."""
    distance: Float[Tensor, "N"]


def sample_surface(mesh: Mesh, count: int, generator: torch.Generator) -> tuple[Int[Tensor, "S"], Float[Tensor, "S 3"]]:
    """Faces and barycentric coordinates of points spread evenly over the surface."""
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    edge = torch.linalg.cross(b - a, c - a).norm(dim=-1).cumsum(0)
    at = (torch.arange(count, dtype=torch.float64) + torch.rand(count, generator=generator, dtype=torch.float64)) / count
    face = torch.searchsorted(edge, at * edge[-1]).clamp_max(len(mesh.faces) - 1)
    u, v = torch.rand(2, count, generator=generator)
    root = u.sqrt()
    return face, torch.stack([1 - root, root * (1 - v), root * v], -1)


def points_on(mesh: Mesh, face: Int[Tensor, "S"], weights: Float[Tensor, "S 3"]) -> Float[Tensor, "S 3"]:
    """The points with these barycentric coordinates."""
    return (weights[..., None] * mesh.vertices[mesh.faces[face]]).sum(1)


class SurfaceIndex:
    """Finds closest points of one mesh, on the CPU; exact but for faces that are all but equally far."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = Mesh(mesh.vertices.detach().float().cpu(), mesh.faces.cpu())
        face, weights = sample_surface(self.mesh, SAMPLES, torch.Generator().manual_seed(0))
        middle = torch.arange(len(self.mesh.faces))
        self.owner = torch.cat([face, middle])
        weights = torch.cat([weights, torch.full((len(middle), 3), 1 / 3)])
        self.tree = scipy.spatial.cKDTree(points_on(self.mesh, self.owner, weights).numpy())

    def closest(self, points: Float[Tensor, "N 3"]) -> Closest:
        """The closest point of the surface for each point."""
        parts = [self._closest(part) for part in points.detach().float().cpu().split(CHUNK)]
        if not parts:
            return Closest(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3), torch.zeros(0))
        return Closest(*(torch.cat([getattr(part, name) for part in parts]) for name in ("face", "weights", "distance")))

    def _closest(self, points: Tensor) -> Closest:
        near = torch.from_numpy(self.tree.query(points.numpy(), k=CANDIDATES, workers=-1)[1]).long()
        faces = self.owner[near.clamp_max(len(self.owner) - 1)]
        weights, square = closest_on_triangles(points[:, None], self.mesh.vertices[self.mesh.faces[faces]])
        best = square.argmin(-1, keepdim=True)
        chosen = weights.gather(1, best[..., None].expand(-1, -1, 3))[:, 0]
        return Closest(faces.gather(1, best)[:, 0], chosen, square.gather(1, best)[:, 0].sqrt())


def closest_on_triangles(
    points: Float[Tensor, "*#S 3"], triangles: Float[Tensor, "*S 3 3"]
) -> tuple[Float[Tensor, "*S 3"], Float[Tensor, "*S"]]:
    """Barycentric coordinates of the closest point of each triangle, and its squared distance: the best of inside and edges."""
    offset = triangles - points[..., None, :]
    options = [_foot(offset)]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        edge = offset[..., second, :] - offset[..., first, :]
        along = (-(offset[..., first, :] * edge).sum(-1) / edge.square().sum(-1).clamp_min(1e-30)).clamp(0, 1)
        weights = torch.zeros_like(triangles[..., 0])
        weights[..., first], weights[..., second] = 1 - along, along
        options.append(weights)
    weights = torch.stack(options, -2)
    square = (weights[..., None] * offset[..., None, :, :]).sum(-2).square().sum(-1)
    # a foot outside the triangle is none of its points
    square = torch.where((weights >= 0).all(-1), square, torch.inf)
    best = square.argmin(-1, keepdim=True)
    return weights.gather(-2, best[..., None].expand(*best.shape, 3))[..., 0, :], square.gather(-1, best)[..., 0]


def _foot(offset: Float[Tensor, "*S 3 3"]) -> Float[Tensor, "*S 3"]:
    """Barycentric coordinates of the origin's projection onto the plane of each triangle; negative ones for one without area."""
    a, b, c = offset.unbind(-2)
    first, second = b - a, c - a
    ff, fs, ss = (first * first).sum(-1), (first * second).sum(-1), (second * second).sum(-1)
    f, s = -(a * first).sum(-1), -(a * second).sum(-1)
    area = ff * ss - fs * fs
    flat = area <= 1e-12 * ff * ss
    v, w = ((ss * f - fs * s) / area.masked_fill(flat, 1), (ff * s - fs * f) / area.masked_fill(flat, 1))
    return torch.stack([1 - v - w, v, w], -1).masked_fill(flat[..., None], -1)
