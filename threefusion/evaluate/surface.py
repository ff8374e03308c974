"""Distances between surfaces, and the yaw that aligns two surfaces best."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, radians

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from threefusion.ops.rotation import turn
from threefusion.types import Mesh

YAWS = 36
"""Yaws of the coarse search."""
REFINEMENTS = ((2.0, 5), (0.5, 4))
"""Step in degrees, and number of steps to either side."""
MIN_GAIN = 0.95
"""A yaw is accepted only if it lowers the Chamfer distance below this share of that of yaw 0."""
COARSE = 1500
"""Samples of each surface during the search."""


def surface_samples(mesh: Mesh, count: int, seed: int = 0) -> tuple[Float[Tensor, "N 3"], Int[Tensor, "N"]]:
    """Uniform samples of the surface and the face of each; empty if the surface has no area."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).double()
    if area.numel() == 0 or not area.sum() > 0:
        return mesh.vertices[:0], mesh.faces[:0, 0]
    position = torch.rand(count, dtype=torch.float64, generator=generator) * area.sum()
    face = torch.searchsorted(area.cumsum(0), position).clamp_max(len(area) - 1)
    u, v = torch.rand(2, count, 1, generator=generator).unbind(0)
    flip = u + v > 1
    u, v = torch.where(flip, 1 - u, u), torch.where(flip, 1 - v, v)
    return a[face] + u * (b - a)[face] + v * (c - a)[face], face


def rotated(points: Float[Tensor, "N 3"], yaw: float) -> Float[Tensor, "N 3"]:
    """The points rotated about +z, from +x towards +y; radians."""
    return turn(points, torch.tensor(yaw))


@dataclass(frozen=True)
class Distances:
    """Distances of the samples of each surface to the other one, in scene units."""

    forth: Float[Tensor, "N"]
    back: Float[Tensor, "M"]

    @property
    def chamfer(self) -> float:
        """Chamfer distance: mean of both mean distances."""
        return float((self.forth.mean() + self.back.mean()) / 2)

    def f_score(self, threshold: float) -> float:
        """F-score: harmonic mean of the shares of samples nearer than `threshold` (Tatarchenko et al., CVPR 2019)."""
        precision, recall = (float((side < threshold).double().mean()) for side in (self.forth, self.back))
        return 2 * precision * recall / max(precision + recall, 1e-12)


class SurfacePair:
    """Samples of a result and of the ground truth, with search trees to compare them under any yaw of the result."""

    def __init__(self, result: Float[Tensor, "N 3"], truth: Float[Tensor, "M 3"]) -> None:
        self.result, self.truth = result, truth
        self.trees = cKDTree(result.numpy()), cKDTree(truth.numpy())

    def distances(self, yaw: float = 0.0) -> Distances:
        """Distances with the result rotated by `yaw`; backwards the truth is rotated instead, so trees are built once."""
        forth = self.trees[1].query(rotated(self.result, yaw).numpy())[0]
        back = self.trees[0].query(rotated(self.truth, -yaw).numpy())[0]
        return Distances(torch.from_numpy(forth), torch.from_numpy(back))

    def best_yaw(self) -> float:
        """Yaw of the result in radians with the lowest Chamfer distance; 0 unless another one is clearly better."""
        few = SurfacePair(self.result[:COARSE], self.truth[:COARSE])

        def chamfer(yaw: float) -> float:
            return few.distances(yaw).chamfer

        best = min((i * 2 * pi / YAWS for i in range(YAWS)), key=chamfer)
        for step, count in REFINEMENTS:
            best = min((best + radians(step * i) for i in range(-count, count + 1)), key=chamfer)
        if chamfer(best) > MIN_GAIN * chamfer(0.0):
            return 0.0
        return (best + pi) % (2 * pi) - pi
