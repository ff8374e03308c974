"""DreamFusion's shading: an albedo under one point light and ambient light."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.material.material import Material
from threefusion.types import FieldSample, Lights, Shading


class Diffuse(Material):
    """Lambertian surface: albedo = sigmoid(features), shown as it is, lit, or lit with the albedo replaced by white."""

    feature_width: ClassVar[int] = 3
    unlit_reads_features: ClassVar[bool] = True

    def needs_normal(self, shading: Int[Tensor, "B"]) -> bool:
        """Whether any view is lit."""
        return bool((shading != Shading.ALBEDO).any())

    def forward(self, sample: FieldSample, light: Lights, shading: Int[Tensor, "N"]) -> Float[Tensor, "N 3"]:
        """c = rho (l_rho max(0, n . (l - mu) / |l - mu|) + l_a) (DreamFusion, arXiv 2209.14988, its shading equation).

        Albedo views show rho; textureless ones set rho to 1. Lit views need `sample.normal` and `sample.points`: without them
        every view shows rho, which is why renderers ask `needs_normal` first.
        """
        albedo = sample.features.sigmoid()
        if sample.normal is None or sample.points is None:
            return albedo
        shone = lambert(sample.normal, sample.points, light)
        reflected = torch.where((shading == Shading.TEXTURELESS)[:, None], shone, albedo * shone)
        return torch.where((shading == Shading.ALBEDO)[:, None], albedo, reflected)

    def textures(self, sample: FieldSample) -> dict[str, Float[Tensor, "N C"]]:
        """The albedo as `base_color`."""
        return {"base_color": sample.features.sigmoid()}


def lambert(normal: Float[Tensor, "N 3"], points: Float[Tensor, "N 3"], light: Lights) -> Float[Tensor, "N 3"]:
    """What a white matte surface shows: l_rho max(0, n . (l - mu) / |l - mu|) + l_a."""
    towards = normalize(light.position - points, dim=-1)
    return light.color * (normal * towards).sum(-1, keepdim=True).clamp_min(0) + light.ambient
