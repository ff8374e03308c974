"""GGX microfacets: the specular part of glTF 2.0's material model (appendix B of its specification), and its integrals.

Roughness is glTF's; alpha = roughness squared is the width of the distribution of microfacet normals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

DIELECTRIC = 0.04
"""Reflectance of dielectrics at normal incidence: an index of refraction of 1.5."""

MAX_WIDTH = 1.5
"""Largest width of a lobe: seen at an angle, a rough surface spreads light further than along its normal."""

_TABLE_SIZE = 32
_TABLE_BITS = 11
_SMALLEST = 1e-4
_SPLIT, _SHIFT = 0.7, 0.3
"""How far apart the two lobes are, and how far they move towards the mirror direction, in standard deviations. Fitted to
panoramas: GGX's tails, which carry most of the variance, matter less for an image than its peak."""


def distribution(sine2: Float[Tensor, "*#N"], alpha: Float[Tensor, "*#N"]) -> Float[Tensor, "..."]:
    """D: density of microfacet normals at an angle to the surface normal whose squared sine is `sine2`.

    Of the sine, because 1 - cos^2 cancels where a highlight is sharp.
    """
    alpha2 = alpha * alpha
    return alpha2 / (pi * (sine2 + alpha2 * (1 - sine2)).square())


def visibility(n_dot_l: Float[Tensor, "*#N"], n_dot_v: Float[Tensor, "*#N"], alpha: Float[Tensor, "*#N"]) -> Float[Tensor, "..."]:
    """V: height-correlated Smith masking and shadowing, divided by 4 (n.l) (n.v) (Heitz 2014); symmetric in both directions."""
    alpha2 = alpha * alpha
    masking = n_dot_l * (n_dot_v * n_dot_v * (1 - alpha2) + alpha2).sqrt()
    shadowing = n_dot_v * (n_dot_l * n_dot_l * (1 - alpha2) + alpha2).sqrt()
    return 0.5 / (masking + shadowing).clamp_min(_SMALLEST**2)


def schlick(v_dot_h: Float[Tensor, "*#N"]) -> Float[Tensor, "..."]:
    """(1 - v.h)^5: the share of white in Fresnel's reflectance, f0 + (1 - f0) (1 - v.h)^5 (Schlick 1994)."""
    rest = (1 - v_dot_h).clamp(0, 1)
    return rest.square().square() * rest


@dataclass(frozen=True)
class Lobe:
    """The specular lobe of a rough surface, seen at an angle: two symmetric lobes, side by side in the plane of incidence."""

    scale: Float[Tensor, "N 1"]
    bias: Float[Tensor, "N 1"]
    """f0 scale + bias is the reflected share of uniform light."""
    lean: tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]
    """The lobes' middles are the directions of (1 - lean) mirrored + lean normal."""
    width: Float[Tensor, "N 1"]
    """Roughness of both (`symmetric_lobe`)."""


@cache
def lobe_table() -> Float[Tensor, "1 5 T T"]:
    """Scale, bias, both leans and width of `Lobe` on a grid of roughness (rows) and n.v (columns) from 0 to 1.

    Scale and bias are the second half of Karis's split sum ("Real Shading in Unreal Engine 4", 2013), by importance sampling of
    the microfacet normals. Karis takes the lobe for a symmetric one round the mirror direction. Two symmetric lobes, set by the
    true one's mean direction and its variances along and across the plane of incidence, halve the error on rough metals.
    """
    axis = torch.linspace(0, 1, _TABLE_SIZE, dtype=torch.float64)
    alpha = axis[:, None, None].square().clamp_min(_SMALLEST)
    n_dot_v = axis[None, :, None].clamp(1e-3, 1 - 1e-6)
    n_dot_h, h_x, h_y = _microfacet_normals(alpha)
    v_x = (1 - n_dot_v * n_dot_v).sqrt()
    v_dot_h = (v_x * h_x + n_dot_v * n_dot_h).clamp_min(0)
    n_dot_l = (2 * v_dot_h * n_dot_h - n_dot_v).clamp_min(0)
    # f (n.l) over the density of l, D (n.h) / (4 v.h)
    weight = visibility(n_dot_l, n_dot_v, alpha) * n_dot_l * 4 * v_dot_h / n_dot_h
    white = schlick(v_dot_h)
    share = weight / weight.sum(-1, keepdim=True)
    away = v_x - 2 * v_dot_h * h_x
    middle = torch.atan2((share * away).sum(-1), (share * n_dot_l).sum(-1))
    sideways = away * middle.cos()[..., None] - n_dot_l * middle.sin()[..., None]
    along, across = (share * sideways.square()).sum(-1), (share * (2 * v_dot_h * h_y).square()).sum(-1)
    width = _width_of_variance(torch.where(along > across, across, (along + across) / 2))
    half = ((along - across).clamp_min(0) / (1 - 3 * across)).clamp(0, 0.9).sqrt().asin()
    mirror = n_dot_v[..., 0].acos()
    middle = middle + _SHIFT * half
    leans = [
        (mirror - angle).sin() / ((mirror - angle).sin() + angle.sin())
        for angle in (middle - _SPLIT * half, middle + _SPLIT * half)
    ]
    table = torch.stack([(weight * (1 - white)).mean(-1), (weight * white).mean(-1), *leans, width])
    table[2:4, :, -1] = table[2:4, :, -2]  # seen along the normal, the directions are all one
    return table[None].float()


def _microfacet_normals(alpha: Float[Tensor, "T 1 1"]) -> tuple[Tensor, Tensor, Tensor]:
    """(n.h) and both tangential components of microfacet normals, distributed as D (n.h), on a Hammersley sequence."""
    count = 1 << _TABLE_BITS
    index = torch.arange(count)
    turn = 2 * pi * (index + 0.5) / count
    u = sum((index >> bit & 1) * 0.5 ** (bit + 1) for bit in range(_TABLE_BITS)).double() + 0.5 / count
    cosine2 = (1 - u) / (1 + (alpha * alpha - 1) * u)
    sine = (1 - cosine2).sqrt()
    return cosine2.sqrt(), sine * turn.cos(), sine * turn.sin()


def symmetric_lobe(cosine: Float[Tensor, "*#N"], roughness: Float[Tensor, "*#N"]) -> Float[Tensor, "..."]:
    """Karis's lobe round a direction that makes an angle with this cosine: D (n.l) where n = v = the mirror direction."""
    return distribution((1 - cosine) / 2, roughness.square()) * cosine.clamp_min(0)


def _width_of_variance(variance: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
    """The roughness whose symmetric lobe has this variance along each of two axes across its middle."""
    roughness = torch.linspace(0.02, MAX_WIDTH, 256, dtype=torch.float64)
    cosine = 1 - torch.linspace(0, 1, 4097, dtype=torch.float64).square()  # dense round the middle
    lobe = symmetric_lobe(cosine, roughness[:, None])
    variances = torch.trapezoid(lobe * (1 - cosine.square()) / 2, cosine) / torch.trapezoid(lobe, cosine)
    return torch.from_numpy(np.interp(variance.numpy(), variances.numpy(), roughness.numpy()))


def specular_lobe(table: Float[Tensor, "1 5 T T"], n_dot_v: Float[Tensor, "N 1"], roughness: Float[Tensor, "N 1"]) -> Lobe:
    """The lobe at points, linear between the table's entries and differentiable in both arguments."""
    grid = torch.cat([n_dot_v, roughness], -1)[None, None] * 2 - 1
    fields = grid_sample(table.to(grid.dtype), grid, align_corners=True, padding_mode="border")[0, :, 0]
    scale, bias, *leans, width = fields[:, :, None]
    return Lobe(scale, bias, tuple(leans), width)


def compensation(lobe: Lobe, f0: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Factor on the specular part that returns the light lost by ignoring reflections between microfacets.

    1 + f0 (1 - E) / E with E = scale + bias, the share of light that a white surface reflects at the first bounce (Turquin,
    "Practical multiple scattering compensation for microfacet models", 2019): a white metal then reflects everything.
    """
    return 1 + f0 * (1 / (lobe.scale + lobe.bias) - 1)
