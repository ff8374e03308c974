"""Signed distance functions of the primitives, in local coordinates, negative inside.

Formulas: https://iquilezles.org/articles/distfunctions/. All are exact except `ellipsoid` and `bowl`, which are exact to first
order at the surface.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def ball(points: Float[Tensor, "N 3"], radius: float) -> Float[Tensor, "N"]:
    """Distance to a ball around the origin."""
    return points.norm(dim=-1) - radius


def ellipsoid(points: Float[Tensor, "N 3"], rx: float, ry: float, rz: float) -> Float[Tensor, "N"]:
    """First-order distance to an axis-aligned ellipsoid."""
    radii = points.new_tensor([rx, ry, rz])
    k0 = (points / radii).norm(dim=-1)
    # the gradient vanishes at the centre, where any negative value is vacap
    k1 = (points / radii**2).norm(dim=-1).clamp_min(1e-6)
    return torch.where(k0 < 1e-3, -radii.min(), k0 * (k0 - 1) / k1)


def box(points: Float[Tensor, "N 3"], hx: float, hy: float, hz: float, rounding: float = 0.0) -> Float[Tensor, "N"]:
    """Distance to a box with these half sizes and edges rounded inwards."""
    q = points.abs() - points.new_tensor([hx, hy, hz]) + rounding
    return q.clamp_min(0).norm(dim=-1) + q.amax(dim=-1).clamp_max(0) - rounding


def cylinder(points: Float[Tensor, "N 3"], radius: float, half_height: float, rounding: float = 0.0) -> Float[Tensor, "N"]:
    """Distance to a capped cylinder along z."""
    radial = points[:, :2].norm(dim=-1) - radius + rounding
    axial = points[:, 2].abs() - half_height + rounding
    outside = torch.stack([radial, axial], -1).clamp_min(0).norm(dim=-1)
    return outside + torch.maximum(radial, axial).clamp_max(0) - rounding


def cone(points: Float[Tensor, "N 3"], bottom: float, top: float, half_height: float) -> Float[Tensor, "N"]:
    """Distance to a capped cone along z with radii `bottom` and `top` at -half_height and +half_height."""
    r, z = points[:, :2].norm(dim=-1), points[:, 2]
    length = (4 * half_height**2 + (bottom - top) ** 2) ** 0.5
    along_r, along_z = (top - bottom) / length, 2 * half_height / length
    # signed distances to the slanted side and to the plane of the nearer cap, and the position along the side
    side = (r - top) * along_z - (z - half_height) * along_r
    cap = z.abs() - half_height
    position = (r - bottom) * along_r + (z + half_height) * along_z
    cap_radius = torch.where(z < 0, bottom, top)
    upper = position > length / 2
    rim = torch.stack([r - torch.where(upper, top, bottom), z - torch.where(upper, half_height, -half_height)], -1)
    rim = rim.square().sum(-1).clamp_min(1e-14).sqrt()
    outside = torch.where((cap > 0) & (r < cap_radius), cap, torch.where((position >= 0) & (position <= length), side, rim))
    return torch.where((side <= 0) & (cap <= 0), torch.maximum(side, cap), outside)


def torus(points: Float[Tensor, "N 3"], ring: float, tube: float) -> Float[Tensor, "N"]:
    """Distance to a torus around the z axis."""
    return torch.stack([points[:, :2].norm(dim=-1) - ring, points[:, 2]], -1).norm(dim=-1) - tube


def capsule(points: Float[Tensor, "N 3"], radius: float, half_height: float) -> Float[Tensor, "N"]:
    """Distance to a capsule along z; `half_height` is the distance of the end centres from the origin."""
    z = points[:, 2] - points[:, 2].clamp(-half_height, half_height)
    return torch.cat([points[:, :2], z[:, None]], -1).norm(dim=-1) - radius


def wedge(points: Float[Tensor, "N 3"], half_base: float, half_length: float, half_height: float) -> Float[Tensor, "N"]:
    """Lower bound of the distance to an isosceles triangle in xz (apex up), extruded along y."""
    normal = points.new_tensor([2 * half_height, half_base])
    normal = normal / normal.norm()
    side = points[:, 0].abs() * normal[0] + (points[:, 2] - half_height) * normal[1]
    return torch.stack([side, -half_height - points[:, 2], points[:, 1].abs() - half_length], -1).amax(dim=-1)


def bowl(points: Float[Tensor, "N 3"], rx: float, ry: float, rz: float) -> Float[Tensor, "N"]:
    """Lower bound of the distance to the lower half of an ellipsoid, closed by a flat cap at z = 0."""
    return torch.maximum(ellipsoid(points, rx, ry, rz), points[:, 2])


SOLIDS = {f.__name__: f for f in (ball, ellipsoid, box, cylinder, cone, torus, capsule, wedge, bowl)}
