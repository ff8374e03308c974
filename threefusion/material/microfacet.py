"""GGX microfacets: the specular part of glTF 2.0's material model (appendix B of its specification), and its integrals.

Roughness is glTF's; alpha = roughness squared is the width of the distribution of microfacet normals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import pi

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

_FIT = (
    (1.360, 0.713, -0.459, -0.743, 1.696, 1.703),
    (0.155, 0.058, 0.369, -0.044, -0.744, -1.088),
    (-0.089, -0.063, -0.033, 0.143, 0.009, 0.214),
    (0.602, 0.140, -0.342, -0.222, 0.001, 0.798),
    (-0.476, -0.805, 0.417, 0.086, 1.236, -1.980),
    (-0.610, 0.821, 0.279, 0.222, -1.177, -0.076),
    (0.032, 0.874, 0.461, 0.358, -2.586, 0.169),
    (0.329, 0.192, 0.268, -0.060, 0.473, 0.246),
    (0.255, -1.122, 0.272, 0.501, 0.852, 0.505),
    (0.470, -1.667, -0.016, 0.300, 1.460, 1.286),
)
"""Constants of `fitted_lobes`: rows are features, columns are outputs. From `python -m benchmarks.lobes`."""


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
    """The specular lobe of a rough surface at an angle: two symmetric lobes in the plane of incidence, and a cosine lobe."""

    scale: Float[Tensor, "N 1"]
    bias: Float[Tensor, "N 1"]
    """f0 scale + bias is the reflected share of uniform light."""
    lean: tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]
    """The symmetric lobes' middles are the directions of (1 - lean) mirrored + lean normal."""
    width: tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]
    """Their roughnesses (`symmetric_lobe`)."""
    share: tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"], Float[Tensor, "N 1"]]
    """Of the two, and of the cosine lobe round the normal, in the reflected light; they sum to 1."""


@cache
def lobe_table() -> Float[Tensor, "1 9 T T"]:
    """The fields of `Lobe` in their order, on a grid of roughness (rows) and n.v (columns) from 0 to 1."""
    axis = torch.linspace(0, 1, _TABLE_SIZE)
    roughness, n_dot_v = torch.meshgrid(axis, axis, indexing="ij")
    return torch.cat([lobe_integrals(), fitted_lobes(n_dot_v, roughness, torch.tensor(_FIT)).movedim(-1, 0)])[None]


@cache
def lobe_integrals() -> Float[Tensor, "2 T T"]:
    """Scale and bias on the grid of `lobe_table`.

    The second half of Karis's split sum ("Real Shading in Unreal Engine 4", 2013), by importance sampling of the microfacet
    normals.
    """
    axis = torch.linspace(0, 1, _TABLE_SIZE, dtype=torch.float64)
    alpha = axis[:, None, None].square().clamp_min(_SMALLEST)
    n_dot_v = axis[None, :, None].clamp(1e-3, 1)
    n_dot_h, h_x = _microfacet_normals(alpha)
    v_dot_h = ((1 - n_dot_v * n_dot_v).sqrt() * h_x + n_dot_v * n_dot_h).clamp_min(0)
    n_dot_l = (2 * v_dot_h * n_dot_h - n_dot_v).clamp_min(0)
    # f (n.l) over the density of l, D (n.h) / (4 v.h)
    weight = visibility(n_dot_l, n_dot_v, alpha) * n_dot_l * 4 * v_dot_h / n_dot_h
    white = schlick(v_dot_h)
    return torch.stack([(weight * (1 - white)).mean(-1), (weight * white).mean(-1)]).float()


def fitted_lobes(n_dot_v: Float[Tensor, "*N"], roughness: Float[Tensor, "*N"], constants: Float[Tensor, "10 6"]) -> Tensor:
    """Both leans, both widths and the three shares of `Lobe` [*N 7].

    Karis takes the lobe for a symmetric one round the mirror direction; of rough surfaces the horizon cuts it, and it leans
    towards the normal. Two symmetric lobes, which can be prefiltered, and a cosine lobe, which ends at the horizon, approximate
    it. Their parameters are quadratic in roughness, n.v and n.v / (n.v + alpha), which tells how grazing the view is.
    Everything becomes Karis's lobe as roughness vanishes.
    """
    grazing = n_dot_v / (n_dot_v + roughness.square()).clamp_min(_SMALLEST)
    terms = torch.stack([torch.ones_like(n_dot_v), roughness, n_dot_v, grazing], -1)
    row, column = torch.triu_indices(4, 4)
    lean, width, share = ((terms[..., row] * terms[..., column]) @ constants).split(2, -1)
    roughness = roughness[..., None]
    shares = torch.cat([share, torch.zeros_like(share[..., :1])], -1).softmax(-1)
    return torch.cat([roughness.square() * lean, (roughness * width.exp()).clamp_max(MAX_WIDTH), shares], -1)


def _microfacet_normals(alpha: Float[Tensor, "T 1 1"]) -> tuple[Tensor, Tensor]:
    """(n.h) and the component in the plane of incidence of microfacet normals, distributed as D (n.h): a Hammersley sequence."""
    count = 1 << _TABLE_BITS
    index = torch.arange(count)
    turn = 2 * pi * (index + 0.5) / count
    u = sum((index >> bit & 1) * 0.5 ** (bit + 1) for bit in range(_TABLE_BITS)).double() + 0.5 / count
    cosine2 = (1 - u) / (1 + (alpha * alpha - 1) * u)
    return cosine2.sqrt(), (1 - cosine2).sqrt() * turn.cos()


def symmetric_lobe(cosine: Float[Tensor, "*#N"], roughness: Float[Tensor, "*#N"]) -> Float[Tensor, "..."]:
    """Karis's lobe round a direction that makes an angle with this cosine: D (n.l) where n = v = the mirror direction."""
    return distribution((1 - cosine) / 2, roughness.square()) * cosine.clamp_min(0)


def specular_lobe(table: Float[Tensor, "1 9 T T"], n_dot_v: Float[Tensor, "N 1"], roughness: Float[Tensor, "N 1"]) -> Lobe:
    """The lobe at points, linear between the table's entries and differentiable in both arguments."""
    grid = torch.cat([n_dot_v, roughness], -1)[None, None] * 2 - 1
    fields = grid_sample(table.to(grid.dtype), grid, align_corners=True, padding_mode="border")[0, :, 0]
    scale, bias, *rest = fields[:, :, None]
    return Lobe(scale, bias, lean=tuple(rest[:2]), width=tuple(rest[2:4]), share=tuple(rest[4:]))


def compensation(lobe: Lobe, f0: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Factor on the specular part that returns the light lost by ignoring reflections between microfacets.

    1 + f0 (1 - E) / E with E = scale + bias, the share of light that a white surface reflects at the first bounce (Turquin,
    "Practical multiple scattering compensation for microfacet models", 2019): a white metal then reflects everything.
    """
    return 1 + f0 * (1 / (lobe.scale + lobe.bias) - 1)
