"""Signed distances to the scene of the stage before, for geometries that start from it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.geometry.geometry import BuildContext, HasDistance
from threefusion.geometry.mesh_distance import signed_distance

CHUNK = 1 << 17


@torch.no_grad()
def distance_before(context: BuildContext, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"] | None:
    """Signed distance of points to the surface of the scene before; None if there is nothing to start from.

    A geometry with a signed distance gives its own; of another one it is that to its extracted surface.

    Raises:
        UserError: the scene before has no surface.
    """
    if context.previous is None or context.surface is None:
        return None
    geometry = context.previous.geometry
    if isinstance(geometry, HasDistance):
        device = context.previous.device
        return torch.cat([geometry.distance(part.to(device)).float() for part in points.split(CHUNK)]).to(points.device)
    return signed_distance(context.surface(), points)
