"""The shape of the scene that a geometry starts from, as signed distances or as densities at points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.geometry import BuildContext, Geometry, HasDensity, HasDistance
from threefusion.geometry.mesh_distance import signed_distance

CHUNK = 1 << 17
SOFTNESS = 0.01
"""Over what distance a density rises that a surface is turned into, in radii of the scene."""
INWARDS = 2.0
"""How far that density lies inside the surface, in units of its softness: a ray along the surface stays in its border long."""


@torch.no_grad()
def distance_before(context: BuildContext, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"] | None:
    """Signed distance of points to the surface of the scene before; None if there is nothing to start from.

    A geometry with a signed distance gives its own; of another one it is that to its extracted surface.

    Raises:
        UserError: the scene before is empty, or has diverged.
    """
    if context.previous is None or context.surface is None:
        return None
    geometry = context.previous.geometry
    if isinstance(geometry, HasDistance):
        return _in_parts(geometry.distance, geometry, points)
    return signed_distance(context.surface(), points)


@torch.no_grad()
def density_before(context: BuildContext, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"] | None:
    """Density at points of the scene before, whose surface is made soft if it has none; None if there is nothing to start from.

    Raises:
        UserError: the scene before is empty, or has diverged.
    """
    if context.previous is not None and isinstance(geometry := context.previous.geometry, HasDensity):
        return _in_parts(lambda part: at_point(geometry.density, geometry, part), geometry, points)
    distance = distance_before(context, points)
    return None if distance is None else soft_density(distance, SOFTNESS * context.previous.geometry.radius)


def soft_density(distance: Float[Tensor, "N 1"], width: float) -> Float[Tensor, "N 1"]:
    """A density with the silhouettes of the surface at distance 0: 1 / width inside, fading out exponentially.

    >>> soft_density(torch.tensor([[-1.0], [-0.02], [2.0]]), 0.01).flatten().tolist()
    [100.0, 50.0, 0.0]
    """
    # VolSDF's cumulative Laplace distribution (arXiv 2106.12052), moved inwards
    scaled = distance / width + INWARDS
    tail = 0.5 * (-scaled.abs()).exp()
    return torch.where(scaled > 0, tail, 1 - tail) / width


def at_point(function, geometry: Geometry, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
    """A density or features of a geometry that may average over the cone of a pixel, at points alone."""
    return function(points, *((torch.zeros_like(points),) if getattr(geometry, "needs_covariance", False) else ()))


def _in_parts(function, geometry: Geometry, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
    """Values of a geometry, evaluated where it is, on the device of the points."""
    device = next((value.device for value in geometry.parameters()), points.device)
    return torch.cat([function(part.to(device)).float() for part in points.split(CHUNK)]).to(points.device)
