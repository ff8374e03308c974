"""The published distributions of cameras and lights, as `orbital` with other defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.camera.orbital import OrbitalCameras, OrbitalConfig
from threefusion.registry import register


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


@register("dreamfusion")
class DreamFusionCameras(OrbitalCameras):
    """DreamFusion's cameras, lights and shading."""

    def __init__(self, cfg: DreamFusionCamerasConfig) -> None:
        super().__init__(cfg)


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


@register("threestudio")
class ThreestudioCameras(OrbitalCameras):
    """The cameras, lights and shading of threestudio's DreamFusion configs, so that results and speeds can be compared."""

    def __init__(self, cfg: ThreestudioCamerasConfig) -> None:
        super().__init__(cfg)
