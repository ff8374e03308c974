"""Toy objects: signed distance, albedo and mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians, sin

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.toyworld.catalogue import CLASSES, Part, colored
from threefusion.toyworld.palette import COLORS, FIXED
from threefusion.toyworld.primitives import SOLIDS

RADIUS = 0.72
"""Half size of the cube that contains every object."""


@dataclass(frozen=True)
class ToyObject:
    """A class of the toy world in one colour."""

    name: str
    color: str

    def __post_init__(self) -> None:
        if self.name not in CLASSES or self.color not in COLORS:
            raise ValueError(f"no toy object '{self.color} {self.name}'")

    def __str__(self) -> str:
        return colored(self.name, self.color)

    def albedo(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """sRGB albedo of the part nearest to each point."""
        fixed, painted = class_paint(self.name, points)
        return fixed + painted * points.new_tensor(COLORS[self.color])


def _rotation(turn: tuple[str, float | int]) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about one axis."""
    axis, degrees = turn
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix = torch.eye(3)
    matrix[j, j] = matrix[k, k] = cos(radians(degrees))
    matrix[k, j], matrix[j, k] = sin(radians(degrees)), -sin(radians(degrees))
    return matrix


def part_sdf(part: Part, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Signed distance of one part."""
    local = points - points.new_tensor(part.center)
    if part.turn is not None:
        local = local @ _rotation(part.turn).to(local)
    return SOLIDS[part.solid](local, *part.size)


def class_sdf(name: str, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Signed distance of a class: the minimum over its parts."""
    distance = part_sdf(CLASSES[name][0], points)
    for part in CLASSES[name][1:]:
        distance = torch.minimum(distance, part_sdf(part, points))
    return distance


def class_paint(name: str, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 1"]]:
    """Colour of fixed parts (0 elsewhere), and 1 on parts with the caption's colour."""
    parts = CLASSES[name]
    nearest = torch.stack([part_sdf(part, points) for part in parts], -1).argmin(-1)
    fixed = points.new_tensor([FIXED[p.color] if p.color else (0.0, 0.0, 0.0) for p in parts])
    painted = points.new_tensor([float(p.color is None) for p in parts])
    return fixed[nearest], painted[nearest, None]


def class_normal(name: str, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Outward unit normals: the normalised gradient of the signed distance."""
    with torch.enable_grad():
        points = points.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(class_sdf(name, points).sum(), points)
    return torch.nn.functional.normalize(gradient, dim=-1)


def _sampled_sdf(name: str, resolution: int, block: int = 4) -> np.ndarray:
    """[n n n] distances on a lattice; blocks without the surface have the distance of their centre."""
    cells = resolution // block
    step = 2 * RADIUS / resolution
    middle = (torch.arange(cells) + 0.5) * block * step - RADIUS
    centers = torch.stack(torch.meshgrid(middle, middle, middle, indexing="ij"), -1).view(-1, 3)
    coarse = class_sdf(name, centers)
    values = coarse.view(cells, cells, cells)
    for axis in range(3):
        values = values.repeat_interleave(block, axis)
    # 1.6 x the half diagonal: ellipsoids are exact to first order only
    near = (coarse.abs() < 1.6 * block * step * 3**0.5 / 2).nonzero()[:, 0]
    offset = torch.stack(torch.meshgrid(*[torch.arange(block)] * 3, indexing="ij"), -1).view(-1, 3)
    first = torch.stack([near // cells**2, near // cells % cells, near % cells], -1) * block
    index = (first[:, None] + offset).view(-1, 3)
    values[index.unbind(-1)] = class_sdf(name, (index + 0.5) * step - RADIUS)
    return values.numpy()


@lru_cache(maxsize=64)
def class_mesh(name: str, resolution: int = 128) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"]]:
    """Marching-cubes mesh of a class with outward winding, vertices projected onto the exact surface."""
    from skimage.measure import marching_cubes

    with torch.no_grad():
        values = _sampled_sdf(name, resolution)
    step = 2 * RADIUS / resolution
    vertices, faces, *_ = marching_cubes(values, 0.0, gradient_direction="descent", spacing=(step,) * 3)
    points = torch.from_numpy(np.ascontiguousarray(vertices)).float() + 0.5 * step - RADIUS
    for _ in range(3):
        # small steps: at creases the gradient is that of one side only
        distance = class_sdf(name, points).clamp(-step, step)
        points = points - distance[:, None] * class_normal(name, points)
    return points.detach(), torch.from_numpy(np.ascontiguousarray(faces)).long()
