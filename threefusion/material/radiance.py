"""Colours that change with the direction of view."""

from __future__ import annotations

from math import pi, sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.material.diffuse import lambert
from threefusion.material.material import Material
from threefusion.material.settings import RadianceConfig
from threefusion.ops.spherical_harmonics import spherical_harmonics
from threefusion.types import FieldSample, Lights, Shading


class RadianceMaterial(Material):
    """color = sigmoid(sum of features times spherical harmonics of the direction of view), as in PlenOctrees (arXiv 2103.14024).

    The harmonics are divided by that of degree 0: the first three features alone are the colour of `diffuse`.
    """

    def __init__(self, cfg: RadianceConfig) -> None:
        super().__init__(cfg)
        self.feature_width = 3 * (cfg.degree + 1) ** 2

    def needs_normal(self, shading: Int[Tensor, "B"]) -> bool:
        """Whether any view is textureless."""
        return bool((shading == Shading.TEXTURELESS).any())

    def forward(self, sample: FieldSample, light: Lights, shading: Int[Tensor, "N"]) -> Float[Tensor, "N 3"]:
        """Lit views show the colour along their rays, albedo views the part of degree 0, textureless ones `diffuse`'s white.

        No light is applied to lit views: the colours hold it.
        """
        constant = sample.features[:, :3].sigmoid()
        if sample.direction is None:
            return constant
        basis = spherical_harmonics(sample.direction, self.cfg.degree) * sqrt(4 * pi)
        color = torch.einsum("nk,nkc->nc", basis, sample.features.unflatten(-1, (-1, 3))).sigmoid()
        shown = torch.where((shading == Shading.ALBEDO)[:, None], constant, color)
        if sample.normal is None or sample.points is None:
            return shown
        return torch.where((shading == Shading.TEXTURELESS)[:, None], lambert(sample.normal, sample.points, light), shown)

    def textures(self, sample: FieldSample) -> dict[str, Float[Tensor, "N C"]]:
        """The part of degree 0, which does not depend on the view, as `base_color`."""
        return {"base_color": sample.features[:, :3].sigmoid()}
