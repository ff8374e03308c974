"""Cameras drawn round the object, with a light and a way of shading for each."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.camera.light import around_camera_direction, cone_about_camera
from threefusion.camera.projection import look_at, sphere_position, wrap_angle
from threefusion.camera.sampler import CameraSampler, between, normal_numbers, uniform_numbers
from threefusion.registry import register
from threefusion.types import Cameras, Lights, Shading, ViewBatch


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


@register("orbital")
class OrbitalCameras(CameraSampler):
    """Cameras round the object that look at its middle, with a point light each; every range is a field."""

    def __init__(self, cfg: OrbitalConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.batch_size = cfg.batch_size

    def sample(self, step: int, seed: int, index: Int[Tensor, "B"]) -> ViewBatch:
        """Views `index` of the global batch of `step`."""
        camera = self._cameras(step, seed, index)
        shading = self._shading(step, seed, index)
        light = self._lights(step, seed, index, camera, shading)
        return ViewBatch(camera, light, shading, step, index, seed)

    def _cameras(self, step: int, seed: int, index: Int[Tensor, "B"]) -> Cameras:
        cfg = self.cfg
        uniform = uniform_numbers(step, seed, index, "camera", 8)
        normal = normal_numbers(step, seed, index, "camera-perturb", 6)
        azimuth = self._azimuth(step, seed, index, uniform[:, 0])
        elevation = self._elevation(uniform[:, 1:4])
        distance = between(cfg.distance_range, uniform[:, 4])
        position = sphere_position(azimuth, elevation, distance) + cfg.camera_perturb * (2 * uniform[:, 5:8] - 1)
        up = torch.tensor([0.0, 0.0, 1.0]) + cfg.up_perturb * normal[:, 3:]
        c2w = look_at(position, cfg.center_perturb * normal[:, :3], up)
        fovy = self._fovy(uniform_numbers(step, seed, index, "fovy", 1)[:, 0])
        return Cameras(c2w, fovy, azimuth, elevation, distance, cfg.height, cfg.width)

    def _azimuth(self, step: int, seed: int, index: Int[Tensor, "B"], fraction: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        if self.cfg.stratified_azimuth:
            # index -1 stands for the batch as a whole
            turn = uniform_numbers(step, seed, torch.tensor([-1]), "azimuth", 1)[0]
            fraction = torch.remainder((index % self.batch_size + fraction) / self.batch_size + turn, 1)
        low, high = self.cfg.azimuth_range_deg
        return wrap_angle(between((radians(low), radians(high)), fraction))

    def _elevation(self, uniform: Float[Tensor, "B 3"]) -> Float[Tensor, "B"]:
        cfg = self.cfg
        bounds = torch.tensor([cfg.elevation_range_deg, cfg.steep_range_deg]).deg2rad()
        angle = between((bounds[0, 0].item(), bounds[0, 1].item()), uniform[:, 2])
        on_sphere = between((bounds[0, 0].sin().item(), bounds[0, 1].sin().item()), uniform[:, 2]).clamp(-1, 1).asin()
        steep = between((bounds[1, 0].item(), bounds[1, 1].item()), uniform[:, 2])
        chosen = torch.where(uniform[:, 0] < cfg.sphere_fraction, on_sphere, angle)
        return torch.where(uniform[:, 1] < cfg.steep_fraction, steep, chosen)

    def _fovy(self, fraction: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        cfg = self.cfg
        if cfg.focal_range is None:
            return between(cfg.fovy_range_deg, fraction).deg2rad()
        return 2 * (cfg.height / (2 * cfg.width * between(cfg.focal_range, fraction))).atan()

    def _shading(self, step: int, seed: int, index: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        if step < self.cfg.albedo_steps:
            return torch.full_like(index, Shading.ALBEDO)
        uniform = uniform_numbers(step, seed, index, "shading", 2)
        lit = torch.where(uniform[:, 1] < self.cfg.textureless_probability, int(Shading.TEXTURELESS), int(Shading.LIT))
        return torch.where(uniform[:, 0] < self.cfg.lit_probability, lit, int(Shading.ALBEDO))

    def _lights(self, step: int, seed: int, index: Int[Tensor, "B"], camera: Cameras, shading: Int[Tensor, "B"]) -> Lights:
        cfg = self.cfg
        uniform = uniform_numbers(step, seed, index, "light", 4)
        noise = cfg.light_perturb * normal_numbers(step, seed, index, "light-perturb", 3)
        distance = between(cfg.light_distance_range, uniform[:, 0])
        if cfg.light == "camera-direction":
            position = around_camera_direction(camera.position, noise, distance)
        elif cfg.light == "cone":
            position = cone_about_camera(camera.position, radians(cfg.light_cone_deg), uniform[:, 1:3], distance)
        else:
            position = camera.position + noise
        # an albedo view is the one that ambient light of 1 alone would show
        ambient = torch.where(shading == Shading.ALBEDO, 1.0, between(cfg.ambient_range, uniform[:, 3]))
        ambient = ambient[:, None].expand(-1, 3)
        return Lights(position, 1 - ambient, ambient)
