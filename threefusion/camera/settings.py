"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OrbitalConfig:
    """Ranges from which views are drawn; the defaults are the views on which the bundled priors were trained."""

    batch_size: int = 4
    """Views per optimiser step, over all processes."""
    height: int = 64
    """Height of the rendered image in pixels."""
    width: int = 64
    """Width of the rendered image in pixels."""
    azimuth_range_deg: tuple[float, float] = (-180.0, 180.0)
    """Azimuth, uniform; 0 is the front (+x), 90 is +y."""
    stratified_azimuth: bool = True
    """View i comes from the i-th of `batch_size` equal parts of the azimuth range, which turn together at random per step."""
    elevation_range_deg: tuple[float, float] = (-10.0, 45.0)
    """Elevation above the horizon."""
    sphere_fraction: float = 0.0
    """Share of views whose elevation is uniform over the sphere's surface instead of uniform in angle."""
    steep_fraction: float = 0.25
    """Share of views whose elevation comes from `steep_range_deg` instead."""
    steep_range_deg: tuple[float, float] = (45.0, 80.0)
    """Elevation of the steep views, uniform in angle."""
    distance_range: tuple[float, float] = (1.7, 2.2)
    """Distance from the origin."""
    fovy_range_deg: tuple[float, float] = (38.0, 52.0)
    """Vertical field of view."""
    focal_range: tuple[float, float] | None = None
    """Focal length in image widths, uniform; given, it replaces `fovy_range_deg`."""
    camera_perturb: float = 0.0
    """Largest shift of the camera along each axis, uniform; azimuth and elevation are those before the shift."""
    center_perturb: float = 0.02
    """Standard deviation of the point looked at, round the origin."""
    up_perturb: float = 0.0
    """Standard deviation of the up vector, round +z."""
    light: Literal["camera-direction", "cone", "near-camera"] = "near-camera"
    """`camera-direction`: towards camera + noise (DreamFusion); `cone`: about the camera (Magic3D), or at camera + noise."""
    light_perturb: float = 0.8
    """Standard deviation of the noise of `camera-direction` and `near-camera`."""
    light_distance_range: tuple[float, float] = (0.8, 1.5)
    """Distance of the light from the origin for `camera-direction` and `cone`."""
    light_cone_deg: float = 60.0
    """Half the opening angle of `cone`."""
    ambient_range: tuple[float, float] = (0.1, 0.1)
    """Ambient light, uniform; the point light gives what is missing to 1. (0, 1) is Magic3D's soft shading."""
    albedo_steps: int = 1000
    """Steps before which every view shows the albedo alone."""
    lit_probability: float = 0.75
    """Share of views that are lit after `albedo_steps`; the others show the albedo."""
    textureless_probability: float = 0.5
    """Share of the lit views that are textureless."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
        for name in ("sphere_fraction", "steep_fraction", "lit_probability", "textureless_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: between 0 and 1")
        limits = {
            "azimuth_range_deg": (-360, 360),
            "elevation_range_deg": (-90, 90),
            "steep_range_deg": (-90, 90),
            "distance_range": (1e-3, 1e3),
            "fovy_range_deg": (1, 170),
            "focal_range": (0.05, 100),
            "light_distance_range": (1e-3, 1e3),
            "ambient_range": (0, 1),
        }
        for name, (low, high) in limits.items():
            if (value := getattr(self, name)) is not None and not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{name}: two numbers in increasing order between {low:g} and {high:g}")
        for name in ("camera_perturb", "center_perturb", "up_perturb", "light_perturb", "albedo_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: 0 or more")
        if not 0 <= self.light_cone_deg <= 90:
            raise ValueError("light_cone_deg: between 0 and 90")


@dataclass(frozen=True)
class DreamFusionCamerasConfig(OrbitalConfig):
    """DreamFusion, arXiv 2209.14988; what the paper leaves open is taken from threestudio 0.2.3, and says so."""

    batch_size: int = 4
    """Views per optimiser step: the paper's four chips render one each."""
    elevation_range_deg: tuple[float, float] = (-10.0, 90.0)
    """Elevation above the horizon, from the paper."""
    sphere_fraction: float = 0.5
    """Share of views whose elevation is uniform over the sphere's surface instead of uniform in angle; from threestudio."""
    steep_fraction: float = 0.0
    """Share of views whose elevation comes from `steep_range_deg` instead; none in the paper."""
    distance_range: tuple[float, float] = (1.0, 1.5)
    """Distance from the origin, from the paper; the camera can stand inside the scene's ball of radius 1.4."""
    focal_range: tuple[float, float] | None = (0.7, 1.35)
    """Focal length in image widths, from the paper; replaces `fovy_range_deg`."""
    camera_perturb: float = 0.1
    """Largest shift of the camera along each axis, uniform; from threestudio."""
    center_perturb: float = 0.2
    """Standard deviation of the point looked at; that there is one is from the paper, the number from threestudio."""
    up_perturb: float = 0.02
    """Standard deviation of the up vector; that there is one is from the paper, the number from threestudio."""
    light: Literal["camera-direction", "cone", "near-camera"] = "camera-direction"
    """Towards camera + noise, at a distance of its own; round the camera in the paper, the rule from threestudio."""
    light_perturb: float = 1.0
    """Standard deviation of the light's noise, from threestudio."""


@dataclass(frozen=True)
class ThreestudioCamerasConfig(OrbitalConfig):
    """threestudio 0.2.3, `configs/dreamfusion-if.yaml`."""

    batch_size: int = 1
    """Views per optimiser step."""
    elevation_range_deg: tuple[float, float] = (-10.0, 90.0)
    """Elevation above the horizon; `dreamfusion-sd.yaml` has (-10, 45)."""
    sphere_fraction: float = 0.5
    """Share of views whose elevation is uniform over the sphere's surface instead of uniform in angle."""
    steep_fraction: float = 0.0
    """Share of views whose elevation comes from `steep_range_deg` instead; threestudio has none."""
    distance_range: tuple[float, float] = (1.5, 2.0)
    """Distance from the origin, for a scene of radius 2."""
    fovy_range_deg: tuple[float, float] = (40.0, 70.0)
    """Vertical field of view."""
    camera_perturb: float = 0.1
    """Largest shift of the camera along each axis, uniform."""
    center_perturb: float = 0.2
    """Standard deviation of the point looked at."""
    up_perturb: float = 0.02
    """Standard deviation of the up vector."""
    light: Literal["camera-direction", "cone", "near-camera"] = "camera-direction"
    """threestudio's `light_sample_strategy`: its `dreamfusion` is `camera-direction`, its `magic3d` is `cone`."""
    light_perturb: float = 1.0
    """Standard deviation of the light's noise."""
    albedo_steps: int = 2001
    """Steps before which every view shows the albedo alone (threestudio's `ambient_only_steps`)."""
