"""The signed distance of an ellipsoid, from which geometries start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def ellipsoid_distance(points: Float[Tensor, "N 3"], axes: Sequence[float]) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 3"]]:
    """Signed distance of an ellipsoid with these semi-axes, and its gradient: exact for a sphere, else to first order.

    k0 (k0 - 1) / k1 with k0 = |p / a| and k1 = |p / a^2| (Inigo Quilez, "Ellipsoid - distance").

    >>> points = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> ellipsoid_distance(points, (0.5, 0.5, 0.5))[0].flatten().round(decimals=3).tolist()
    [0.5, -0.5]
    """
    a = points.new_tensor(axes)
    # at the origin nothing may be divided by 0: go a little way along the shortest axis
    near = points.norm(dim=-1, keepdim=True) < 1e-6
    points = torch.where(near, 1e-6 * torch.eye(3).to(points)[a.argmin()], points)
    k0, k1 = (points / a).norm(dim=-1, keepdim=True), (points / a**2).norm(dim=-1, keepdim=True)
    of_k0, of_k1 = points / a**2 / k0, points / a**4 / k1
    gradient = (2 * k0 - 1) / k1 * of_k0 - k0 * (k0 - 1) / k1**2 * of_k1
    return k0 * (k0 - 1) / k1, gradient
