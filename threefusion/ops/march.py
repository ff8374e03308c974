"""Ray marching through an occupancy grid (instant-ngp, arXiv 2201.05989, section 5.4)."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32

Occupancy = Bool[Tensor, "S S S"]
Samples = tuple[Float[Tensor, "M"], Int[Tensor, "M"]]


class RaySegments(NamedTuple):
    """The arguments of `march` that belong to each ray, for the kernels."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    near: Float[Tensor, "R"]
    far: Float[Tensor, "R"]
    shift: Float[Tensor, "R"]


@in_float32
def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    near: Float[Tensor, "R"],
    far: Float[Tensor, "R"],
    shift: Float[Tensor, "R"],
    occupied: Occupancy,
    radius: float,
    step_length: float,
) -> Samples:
    """Samples in the occupied cells along each ray, packed: sorted by ray, then by distance. Not differentiable.

    Step s of a ray has its midpoint at near + (s + shift - 0.5) step_length. It is kept if near < midpoint < far and the midpoint
    lies in an occupied cell.

    Args:
        origins: ray origins.
        directions: unit ray directions.
        near: distance at which each ray enters the scene.
        far: distance at which it leaves; far - near is at most 2 radius, and far <= near means that the ray misses.
        shift: offset of the first step in step lengths, in [0, 1]; 0.5 without jitter.
        occupied: occupancy of the cells of the cube [-radius, radius]^3, indexed x, y, z.
        radius: half the side of that cube.
        step_length: length of a step.

    Returns:
        The midpoints as distances along their rays, and the ray of each.

    Example:
        >>> import torch
        >>> origins, directions = torch.tensor([[-2.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> occupied = torch.zeros(2, 2, 2, dtype=torch.bool)
        >>> occupied[1] = True  # x > 0
        >>> near, far, shift = torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([0.5])
        >>> distances, ray_index = march(origins, directions, near, far, shift, occupied, 1.0, 0.25)
        >>> distances.tolist(), ray_index.tolist()
        ([2.0, 2.25, 2.5, 2.75], [0, 0, 0, 0])
    """
    rays = RaySegments(origins, directions, near, far, shift)
    return kernels("march", origins.device).march(rays, occupied, radius, step_length)


@in_float32
def ray_points(
    origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], distances: Float[Tensor, "N"], ray_index: Int[Tensor, "N"]
) -> Float[Tensor, "N 3"]:
    """Points at distances along rays, several on each. Not differentiable.

    Args:
        origins: ray origins.
        directions: ray directions.
        distances: of each point along its ray.
        ray_index: the ray of each point.

    Example:
        >>> import torch
        >>> origins, directions = torch.zeros(2, 3), torch.eye(3)[:2]
        >>> ray_points(origins, directions, torch.tensor([1.0, 2.0]), torch.tensor([1, 1])).tolist()
        [[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]
    """
    return kernels("ray_points", distances.device).ray_points(origins, directions, distances, ray_index)
