"""Settings of the built-in cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config.fields import Settings, bounded, interval
from threefusion.registry import component


@component("camera", "orbital", "threefusion.camera.orbital:OrbitalCameras")
@dataclass(frozen=True)
class OrbitalConfig(Settings):
    """Ranges from which views are drawn; the defaults are the views on which the bundled priors were trained."""

    batch_size: int = bounded(4, 1, 4096)
    """Views per optimiser step, over all processes."""
    group_size: int = bounded(1, 1, 64)
    """Views in a row that belong together, for priors over several views: at equal steps of azimuth, alike in all else."""
    height: int = bounded(64, 1, 4096)
    """Height of the rendered image in pixels."""
    width: int = bounded(64, 1, 4096)
    """Width of the rendered image in pixels."""
    azimuth_range_deg: tuple[float, float] = interval((-180.0, 180.0), -360, 360)
    """Azimuth, uniform; 0 is the front (+x), 90 is +y."""
    stratified_azimuth: bool = True
    """View i comes from the i-th of `batch_size` equal parts of the azimuth range, which turn together at random per step; with
    groups, the first view of each."""
    elevation_range_deg: tuple[float, float] = interval((-10.0, 45.0), -90, 90)
    """Elevation above the horizon."""
    sphere_fraction: float = bounded(0.0, 0, 1)
    """Share of views whose elevation is uniform over the sphere's surface instead of uniform in angle."""
    steep_fraction: float = bounded(0.25, 0, 1)
    """Share of views whose elevation comes from `steep_range_deg` instead."""
    steep_range_deg: tuple[float, float] = interval((45.0, 80.0), -90, 90)
    """Elevation of the steep views, uniform in angle."""
    distance_range: tuple[float, float] = interval((1.7, 2.2), 1e-3, 1e3)
    """Distance from the origin."""
    fovy_range_deg: tuple[float, float] = interval((38.0, 52.0), 1, 170)
    """Vertical field of view."""
    focal_range: tuple[float, float] | None = interval(None, 0.05, 100)
    """Focal length in image widths, uniform; given, it replaces `fovy_range_deg`."""
    camera_perturb: float = bounded(0.0, 0, 100)
    """Largest shift of the camera along each axis, uniform; azimuth and elevation are those before the shift."""
    center_perturb: float = bounded(0.02, 0, 100)
    """Standard deviation of the look-at point, round the origin."""
    up_perturb: float = bounded(0.0, 0, 100)
    """Standard deviation of the up vector, round +z."""
    light: Literal["camera-direction", "cone", "near-camera"] = "near-camera"
    """`camera-direction`: towards camera + noise (DreamFusion); `cone`: about the camera (Magic3D), or at camera + noise."""
    light_perturb: float = bounded(0.8, 0, 100)
    """Standard deviation of the noise of `camera-direction` and `near-camera`."""
    light_distance_range: tuple[float, float] = interval((0.8, 1.5), 1e-3, 1e3)
    """Distance of the light from the origin for `camera-direction` and `cone`."""
    light_cone_deg: float = bounded(60.0, 0, 90)
    """Half the opening angle of `cone`."""
    ambient_range: tuple[float, float] = interval((0.1, 0.1), 0, 1)
    """Ambient light, uniform; the point light gives what is missing to 1. (0, 1) is Magic3D's soft shading."""
    environment_turn_deg: tuple[float, float] | None = interval(None, -360, 360)
    """Angle by which the environment light of materials such as `pbr` is turned about +z, uniform per view; None: not turned."""
    albedo_steps: int = bounded(1000, 0, 10**9)
    """Steps before which every view shows the albedo alone."""
    lit_probability: float = bounded(0.75, 0, 1)
    """Share of views that are lit after `albedo_steps`; the others show the albedo."""
    textureless_probability: float = bounded(0.5, 0, 1)
    """Share of the lit views that are textureless."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.group_size:
            raise ValueError(f"batch_size: expected a multiple of group_size, {self.group_size}")


@component("camera", "coverage", "threefusion.camera.coverage:CoverageCameras", needs=("surface",))
@dataclass(frozen=True)
class CoverageConfig(OrbitalConfig):
    """Orbital views mixed with planned ones, which together see all of a surface that can be seen from outside."""

    planned_fraction: float = bounded(0.5, 0, 1)
    """Share of views, or of groups, whose direction comes from the plan; the others are drawn as by `orbital`."""
    planned_jitter_deg: float = bounded(5.0, 0, 90)
    """Largest change of a planned azimuth and elevation, uniform."""
    candidates: int = bounded(128, 8, 4096)
    """Directions, evenly over the whole sphere, of which the plan keeps those that show something new."""


@component("camera", "dreamfusion", "threefusion.camera.orbital:OrbitalCameras")
@dataclass(frozen=True)
class DreamFusionCamerasConfig(OrbitalConfig):
    """DreamFusion, arXiv 2209.14988; what the paper leaves open is taken from threestudio 0.2.3, and says so."""

    batch_size: int = bounded(4, 1, 4096)
    """Views per optimiser step: the paper's four chips render one each."""
    elevation_range_deg: tuple[float, float] = interval((-10.0, 90.0), -90, 90)
    """Elevation above the horizon, from the paper."""
    sphere_fraction: float = bounded(0.5, 0, 1)
    """Share of views whose elevation is uniform over the sphere's surface instead of uniform in angle; from threestudio."""
    steep_fraction: float = bounded(0.0, 0, 1)
    """Share of views whose elevation comes from `steep_range_deg` instead; none in the paper."""
    distance_range: tuple[float, float] = interval((1.0, 1.5), 1e-3, 1e3)
    """Distance from the origin, from the paper; the camera can stand inside the scene's ball of radius 1.4."""
    focal_range: tuple[float, float] | None = interval((0.7, 1.35), 0.05, 100)
    """Focal length in image widths, from the paper; replaces `fovy_range_deg`."""
    camera_perturb: float = bounded(0.1, 0, 100)
    """Largest shift of the camera along each axis, uniform; from threestudio."""
    center_perturb: float = bounded(0.2, 0, 100)
    """Standard deviation of the look-at point; that there is one is from the paper, the number from threestudio."""
    up_perturb: float = bounded(0.02, 0, 100)
    """Standard deviation of the up vector; that there is one is from the paper, the number from threestudio."""
    light: Literal["camera-direction", "cone", "near-camera"] = "camera-direction"
    """Towards camera + noise, at a distance of its own; round the camera in the paper, the rule from threestudio."""
    light_perturb: float = bounded(1.0, 0, 100)
    """Standard deviation of the light's noise, from threestudio."""


@component("camera", "threestudio", "threefusion.camera.orbital:OrbitalCameras")
@dataclass(frozen=True)
class ThreestudioCamerasConfig(OrbitalConfig):
    """threestudio 0.2.3, `configs/dreamfusion-if.yaml`."""

    batch_size: int = bounded(1, 1, 4096)
    """Views per optimiser step."""
    elevation_range_deg: tuple[float, float] = interval((-10.0, 90.0), -90, 90)
    """Elevation above the horizon; `dreamfusion-sd.yaml` has (-10, 45)."""
    sphere_fraction: float = bounded(0.5, 0, 1)
    """Share of views whose elevation is uniform over the sphere's surface instead of uniform in angle."""
    steep_fraction: float = bounded(0.0, 0, 1)
    """Share of views whose elevation comes from `steep_range_deg` instead; threestudio has none."""
    distance_range: tuple[float, float] = interval((1.5, 2.0), 1e-3, 1e3)
    """Distance from the origin, for a scene of radius 2."""
    fovy_range_deg: tuple[float, float] = interval((40.0, 70.0), 1, 170)
    """Vertical field of view."""
    camera_perturb: float = bounded(0.1, 0, 100)
    """Largest shift of the camera along each axis, uniform."""
    center_perturb: float = bounded(0.2, 0, 100)
    """Standard deviation of the look-at point."""
    up_perturb: float = bounded(0.02, 0, 100)
    """Standard deviation of the up vector."""
    light: Literal["camera-direction", "cone", "near-camera"] = "camera-direction"
    """threestudio's `light_sample_strategy`: its `dreamfusion` is `camera-direction`, its `magic3d` is `cone`."""
    light_perturb: float = bounded(1.0, 0, 100)
    """Standard deviation of the light's noise."""
    albedo_steps: int = bounded(2001, 0, 10**9)
    """Steps before which every view shows the albedo alone (threestudio's `ambient_only_steps`)."""
