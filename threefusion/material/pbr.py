"""glTF 2.0's metallic-roughness surface under environment light and point lights, shaded in linear light."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, radians

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.material.environment import Environment
from threefusion.material.material import Material, logits
from threefusion.material.microfacet import (
    DIELECTRIC,
    Lobe,
    compensation,
    distribution,
    lobe_table,
    schlick,
    specular_lobe,
    visibility,
)
from threefusion.material.settings import PbrConfig
from threefusion.ops.color import decode_srgb, encode_srgb, shoulder
from threefusion.ops.rotation import turn
from threefusion.types import FieldSample, Lights, Shading

_NONMETAL = -2.0
"""Added to the feature of metallic: what is untrained is not a metal."""


@dataclass(frozen=True)
class Surface:
    """The material at points."""

    base_color: Float[Tensor, "N 3"]
    """sRGB-encoded."""
    metallic: Float[Tensor, "N 1"]
    roughness: Float[Tensor, "N 1"]


@dataclass(frozen=True)
class Reflectance:
    """The shares of uniform light that a surface returns along a direction, and the factors of its specular lobes."""

    diffuse: Float[Tensor, "N 3"]
    specular: Float[Tensor, "N 3"]
    dielectric_factor: Float[Tensor, "N 1"]
    """Weight of a dielectric's specular lobe."""
    metal_factor: Float[Tensor, "N 3"]
    """Weight of a metal's specular lobe."""


class Pbr(Material):
    """Base colour, metallic, roughness and a bounded perturbation of the normal; the first three features are `diffuse`'s.

    A mixture of glTF's two surfaces by `metallic`: GGX microfacets (height-correlated Smith, Schlick's Fresnel) in the base
    colour, and the same in white at 4 % over a Lambertian base that gets the light that the microfacets let through.
    """

    unlit_reads_features: ClassVar[bool] = True

    def __init__(self, cfg: PbrConfig) -> None:
        super().__init__(cfg)
        self.feature_width = 5 + 3 * (cfg.normal_strength > 0)
        self.environment = Environment(cfg.environment)
        self.lobes: Float[Tensor, "1 9 T T"]
        self.register_buffer("lobes", lobe_table(), persistent=False)

    def needs_normal(self, shading: Int[Tensor, "B"]) -> bool:
        """Whether any view is lit."""
        return bool((shading != Shading.ALBEDO).any())

    def surface(self, features: Float[Tensor, "N D"]) -> Surface:
        """The material that features stand for."""
        metallic, roughness = (features[:, 3:4] + _NONMETAL).sigmoid(), features[:, 4:5].sigmoid()
        low = self.cfg.min_roughness
        return Surface(features[:, :3].sigmoid(), metallic, low + (1 - low) * roughness)

    def shading_normal(self, normal: Float[Tensor, "N 3"], features: Float[Tensor, "N D"]) -> Float[Tensor, "N 3"]:
        """The normal, tilted by at most atan(`normal_strength`).

        The tilt is a bounded vector projected onto the tangent plane: it needs no tangent frame, so there is no seam where a
        frame would jump.
        """
        if self.feature_width == 5:
            return normal
        raw = features[:, 5:8]
        bounded = raw / (1 + raw.square().sum(-1, keepdim=True)).sqrt()
        tangent = bounded - (bounded * normal).sum(-1, keepdim=True) * normal
        return normalize(normal + self.cfg.normal_strength * tangent, dim=-1)

    def forward(self, sample: FieldSample, light: Lights, shading: Int[Tensor, "N"]) -> Float[Tensor, "N 3"]:
        """The base colour in albedo views, else what the surface reflects; textureless views show it white and matte."""
        surface = self.surface(sample.features)
        if sample.normal is None or sample.points is None or sample.direction is None:
            return surface.base_color
        plain = (shading == Shading.TEXTURELESS)[:, None]
        seen = Surface(
            torch.where(plain, 1.0, surface.base_color),
            torch.where(plain, 0.0, surface.metallic),
            torch.where(plain, 1.0, surface.roughness),
        )
        normal = self.shading_normal(sample.normal, sample.features)
        shaded = encode_srgb(shoulder(self.radiance(seen, normal, sample, light)))
        return torch.where((shading == Shading.ALBEDO)[:, None], surface.base_color, shaded)

    def radiance(
        self, surface: Surface, normal: Float[Tensor, "N 3"], sample: FieldSample, light: Lights
    ) -> Float[Tensor, "N 3"]:
        """Linear radiance towards the camera; `light.ambient` is not used, the environment takes its part."""
        n_dot_v = (-(normal * sample.direction).sum(-1, keepdim=True)).clamp(1e-4, 1)
        lobe = specular_lobe(self.lobes, n_dot_v, surface.roughness)
        reflectance = self.reflectance(surface, lobe)
        mirrored = sample.direction + 2 * n_dot_v * normal
        back = -radians(self.cfg.rotation_deg) - (normal.new_zeros(()) if light.turn is None else light.turn)
        irradiance = self.environment.irradiance(turn(normal, back))
        reflected = lobe.share[2] * irradiance
        for lean, width, share in zip(lobe.lean, lobe.width, lobe.share[:2], strict=True):
            middle = turn(normalize(torch.lerp(mirrored, normal, lean), dim=-1), back)
            reflected = reflected + share * self.environment.reflection(middle, width)
        around = irradiance * reflectance.diffuse + reflected * reflectance.specular
        towards = normalize(light.position - sample.points, dim=-1)
        n_dot_l = (normal * towards).sum(-1, keepdim=True).clamp_min(0)
        # a light of colour c gives pi c of irradiance, so that white matte surfaces show c
        shone = pi * light.color * n_dot_l * self.brdf(surface, reflectance, normal, -sample.direction, towards)
        return self.cfg.environment_intensity * around + self.cfg.point_intensity * shone

    def reflectance(self, surface: Surface, lobe: Lobe) -> Reflectance:
        """What the surface returns of uniform light; of white it returns everything.

        Diffuse light is what the specular lobe of a dielectric leaves: glTF's 1 - F adds light at grazing angles.
        """
        color, metallic = decode_srgb(surface.base_color), surface.metallic
        dielectric, metal = torch.full_like(metallic, DIELECTRIC), color
        of_dielectric, of_metal = torch.ones_like(dielectric), torch.ones_like(metal)
        if self.cfg.energy_compensation:
            of_dielectric, of_metal = compensation(lobe, dielectric), compensation(lobe, metal)
        first = (dielectric * lobe.scale + lobe.bias) * of_dielectric
        second = (metal * lobe.scale + lobe.bias) * of_metal
        return Reflectance(
            diffuse=(1 - metallic) * (1 - first) * color,
            specular=(1 - metallic) * first + metallic * second,
            dielectric_factor=(1 - metallic) * of_dielectric,
            metal_factor=metallic * of_metal,
        )

    def brdf(
        self,
        surface: Surface,
        reflectance: Reflectance,
        normal: Float[Tensor, "N 3"],
        view: Float[Tensor, "N 3"],
        towards: Float[Tensor, "N 3"],
    ) -> Float[Tensor, "N 3"]:
        """The BRDF between a direction of view and one of light, both away from the surface."""
        alpha = surface.roughness.square()
        half = normalize(view + towards, dim=-1)
        n_dot_v, n_dot_l = ((normal * vector).sum(-1, keepdim=True).clamp(1e-4, 1) for vector in (view, towards))
        sine2 = torch.linalg.cross(normal, half).square().sum(-1, keepdim=True)
        lobe = distribution(sine2, alpha) * visibility(n_dot_l, n_dot_v, alpha)
        white = schlick((view * half).sum(-1, keepdim=True))
        color = decode_srgb(surface.base_color)
        dielectric = (DIELECTRIC + (1 - DIELECTRIC) * white) * reflectance.dielectric_factor
        metal = (color + (1 - color) * white) * reflectance.metal_factor
        return reflectance.diffuse / pi + lobe * (dielectric + metal)

    def textures(self, sample: FieldSample) -> dict[str, Float[Tensor, "N C"]]:
        """`base_color`, `metallic_roughness` and, where the sample has normals, the perturbed `normal`."""
        surface = self.surface(sample.features)
        packed = torch.cat([torch.ones_like(surface.roughness), surface.roughness, surface.metallic], -1)
        maps = {"base_color": surface.base_color, "metallic_roughness": packed}
        if sample.normal is not None and self.cfg.normal_strength > 0:
            maps["normal"] = self.shading_normal(sample.normal, sample.features)
        return maps

    @property
    def texture_features(self) -> dict[str, slice]:
        """Colour, then metallic and roughness, then the normal."""
        return {"base_color": slice(0, 3), "metallic_roughness": slice(3, 5), "normal": slice(5, self.feature_width)}

    def features_of(self, textures: dict[str, Float[Tensor, "N C"]]) -> Float[Tensor, "N D"]:
        """The logits of base colour, metallic and roughness, as far as they are given; an unperturbed normal."""
        features = super().features_of(textures)
        if (packed := textures.get("metallic_roughness")) is not None:
            low = self.cfg.min_roughness
            features[:, 3:4] = logits(packed[:, 2:3]) - _NONMETAL
            features[:, 4:5] = logits((packed[:, 1:2] - low) / (1 - low))
        return features
