"""Real spherical harmonics up to degree 3."""

from __future__ import annotations

from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 3


def spherical_harmonics(directions: Float[Tensor, "*N 3"], degree: int) -> Float[Tensor, "*N K"]:
    """The (degree + 1)^2 orthonormal real harmonics of unit directions, by degree, then by order from -degree to degree.

    Polynomials in x, y and z, without the Condon-Shortley phase.

    >>> spherical_harmonics(torch.tensor([0.0, 0.0, 1.0]), 1).tolist()
    [0.282094806432724, 0.0, 0.48860251903533936, 0.0]
    """
    x, y, z = directions.unbind(-1)
    one = torch.ones_like(x)
    bands = [[one * sqrt(1 / (4 * pi))], [sqrt(3 / (4 * pi)) * axis for axis in (y, z, x)]]
    if degree >= 2:
        second = sqrt(15 / (4 * pi))
        zonal = sqrt(5 / (16 * pi)) * (3 * z * z - 1)
        bands.append([second * x * y, second * y * z, zonal, second * x * z, second / 2 * (x * x - y * y)])
    if degree >= 3:
        outer, inner, middle = sqrt(35 / (32 * pi)), sqrt(105 / (4 * pi)), sqrt(21 / (32 * pi)) * (5 * z * z - 1)
        zonal = sqrt(7 / (16 * pi)) * z * (5 * z * z - 3)
        before = [outer * y * (3 * x * x - y * y), inner * x * y * z, y * middle]
        bands.append([*before, zonal, x * middle, inner / 2 * z * (x * x - y * y), outer * x * (x * x - 3 * y * y)])
    return torch.stack([value for band in bands[: degree + 1] for value in band], -1)
