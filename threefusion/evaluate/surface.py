"""Distances between surfaces, and the turn about the vertical axis that brings two surfaces nearest."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, radians

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from threefusion.types import Mesh

YAWS = 36
"""Turns that are tried before the best one is refined."""
REFINEMENTS = ((2.0, 5), (0.5, 4))
"""Step in degrees, and steps to either side."""
WORTH = 0.95
"""A turn counts as better than none only if it brings the Chamfer distance below this share."""
COARSE = 1500
"""Samples of each surface while turns are tried."""


def surface_samples(mesh: Mesh, count: int, seed: int = 0) -> tuple[Float[Tensor, "N 3"], Int[Tensor, "N"]]:
    """Points evenly over the surface by area, and the face of each; none if the surface has no area."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).double()
    if area.numel() == 0 or not area.sum() > 0:
        return mesh.vertices[:0], mesh.faces[:0, 0]
    place = torch.rand(count, dtype=torch.float64, generator=generator) * area.sum()
    face = torch.searchsorted(area.cumsum(0), place).clamp_max(len(area) - 1)
    u, v = torch.rand(2, count, 1, generator=generator).unbind(0)
    flip = u + v > 1
    u, v = torch.where(flip, 1 - u, u), torch.where(flip, 1 - v, v)
    return a[face] + u * (b - a)[face] + v * (c - a)[face], face


def turned(points: Float[Tensor, "N 3"], yaw: float) -> Float[Tensor, "N 3"]:
    """The points turned about +z, from +x towards +y; radians."""
    cosine, sine = torch.tensor(yaw).cos(), torch.tensor(yaw).sin()
    x, y, z = points.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], -1)


@dataclass(frozen=True)
class Distances:
    """How far each sample of one surface lies from the other one, both ways, in scene units."""

    forth: Float[Tensor, "N"]
    back: Float[Tensor, "M"]

    @property
    def chamfer(self) -> float:
        """Mean of both mean distances."""
        return float((self.forth.mean() + self.back.mean()) / 2)

    def f_score(self, threshold: float) -> float:
        """Harmonic mean of the shares of samples nearer than `threshold` (Tatarchenko et al., CVPR 2019)."""
        precision, recall = (float((side < threshold).double().mean()) for side in (self.forth, self.back))
        return 2 * precision * recall / max(precision + recall, 1e-12)


class SurfacePair:
    """Samples of a result and of the truth, ready to be compared under any turn of the result."""

    def __init__(self, result: Float[Tensor, "N 3"], truth: Float[Tensor, "M 3"]) -> None:
        self.result, self.truth = result, truth
        self.trees = cKDTree(result.numpy()), cKDTree(truth.numpy())

    def distances(self, yaw: float = 0.0) -> Distances:
        """With the result turned by `yaw`; the way back turns the truth against it instead, so trees are made once."""
        forth = self.trees[1].query(turned(self.result, yaw).numpy())[0]
        back = self.trees[0].query(turned(self.truth, -yaw).numpy())[0]
        return Distances(torch.from_numpy(forth), torch.from_numpy(back))

    def best_yaw(self) -> float:
        """The turn of the result in radians with the least Chamfer distance; 0 unless another one is clearly better."""
        few = SurfacePair(self.result[:COARSE], self.truth[:COARSE])

        def chamfer(yaw: float) -> float:
            return few.distances(yaw).chamfer

        best = min((i * 2 * pi / YAWS for i in range(YAWS)), key=chamfer)
        for step, count in REFINEMENTS:
            best = min((best + radians(step * i) for i in range(-count, count + 1)), key=chamfer)
        if chamfer(best) > WORTH * chamfer(0.0):
            return 0.0
        return (best + pi) % (2 * pi) - pi
