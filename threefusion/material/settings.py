"""Settings of the built-in materials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config.fields import Settings, bounded
from threefusion.registry import component


@component("material", "diffuse", "threefusion.material.diffuse:Diffuse")
@dataclass(frozen=True)
class DiffuseConfig(Settings):
    """Nothing to choose: the camera sampler decides how each view is shaded."""


@component("material", "pbr", "threefusion.material.pbr:Pbr")
@dataclass(frozen=True)
class PbrConfig(Settings):
    """Lights and limits of the surface."""

    environment: Literal["studio", "sky", "constant"] = "studio"
    """Light from all around: a room with softboxes, a sunny sky, or the same from everywhere."""
    environment_intensity: float = bounded(0.7, 0, 100)
    """Mean linear radiance of the environment; 1 shows a white surface as white."""
    point_intensity: float = bounded(0.3, 0, 100)
    """Factor on the views' point lights; at 1 a white matte surface that faces the light shows the light's colour."""
    rotation_deg: float = bounded(0.0, -360, 360)
    """Angle by which the environment is turned about +z; `camera.environment_turn_deg` adds a random one per view."""
    min_roughness: float = bounded(0.08, 0.02, 1)
    """Smallest roughness: sharper highlights than the pixels cannot be trained."""
    normal_strength: float = bounded(0.25, 0, 4)
    """Largest slope of the shading normal against the surface's; 0 turns the perturbation, and its three features, off."""
    energy_compensation: bool = True
    """Return the light that reflections between microfacets would carry, so that rough metals do not darken."""


@component("material", "radiance", "threefusion.material.radiance:RadianceMaterial")
@dataclass(frozen=True)
class RadianceConfig(Settings):
    """How much the colour changes with the direction of view."""

    degree: int = bounded(2, 0, 3)
    """Largest degree of the spherical harmonics; 3 (degree + 1)^2 features."""


@component("material", "normal", "threefusion.material.normal:NormalMaterial")
@dataclass(frozen=True)
class NormalConfig(Settings):
    """Axes of the normals."""

    space: Literal["world", "camera"] = "world"
    """`world`: of the world, not of the scene that turns; `camera`: x right, y up, z backwards, as priors of normals expect."""


@component("material", "latent", "threefusion.material.latent:LatentMaterial")
@dataclass(frozen=True)
class LatentConfig(Settings):
    """Nothing to choose: `guidance.input: latents` trains the latents, `image` what a linear layer shows of them."""
