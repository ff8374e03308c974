"""Random cameras around the object, with a light and a shading mode for each."""

from __future__ import annotations

from math import pi, radians

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.camera.light import around_camera_direction, cone_about_camera
from threefusion.camera.projection import look_at, sphere_position, wrap_angle
from threefusion.camera.sampler import CameraSampler, between, normal_numbers, uniform_numbers
from threefusion.camera.settings import OrbitalConfig
from threefusion.types import Cameras, Lights, Shading, ViewBatch


class OrbitalCameras(CameraSampler):
    """Cameras round the object that look at its middle, with a point light each; every range is a field."""

    def __init__(self, cfg: OrbitalConfig) -> None:
        super().__init__(cfg)
        self.batch_size = cfg.batch_size
        self.group_size = cfg.group_size

    def sample(self, step: int, seed: int, index: Int[Tensor, "B"]) -> ViewBatch:
        """Views `index` of the global batch of `step`."""
        group = index // self.group_size
        camera = self._cameras(step, seed, group, (index % self.group_size) * (2 * pi / self.group_size))
        shading = self._shading(step, seed, group)
        light = self._lights(step, seed, group, camera, shading)
        return ViewBatch(camera, light, shading, step, index, seed, group)

    def _cameras(self, step: int, seed: int, group: Int[Tensor, "B"], turn: Float[Tensor, "B"]) -> Cameras:
        cfg = self.cfg
        uniform = uniform_numbers(step, seed, group, "camera", 8)
        normal = normal_numbers(step, seed, group, "camera-perturb", 6)
        azimuth, elevation = self._direction(step, seed, group, uniform)
        azimuth = wrap_angle(azimuth + turn)
        distance = between(cfg.distance_range, uniform[:, 4])
        position = sphere_position(azimuth, elevation, distance) + cfg.camera_perturb * (2 * uniform[:, 5:8] - 1)
        up = torch.tensor([0.0, 0.0, 1.0]) + cfg.up_perturb * normal[:, 3:]
        c2w = look_at(position, cfg.center_perturb * normal[:, :3], up)
        fovy = self._fovy(uniform_numbers(step, seed, group, "fovy", 1)[:, 0])
        return Cameras(c2w, fovy, azimuth, elevation, distance, cfg.height, cfg.width)

    def _direction(
        self, step: int, seed: int, group: Int[Tensor, "B"], uniform: Float[Tensor, "B 8"]
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """Azimuth and elevation of each group's first view."""
        return self._azimuth(step, seed, group, uniform[:, 0]), self._elevation(uniform[:, 1:4])

    def _azimuth(self, step: int, seed: int, group: Int[Tensor, "B"], fraction: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        if self.cfg.stratified_azimuth:
            groups = self.batch_size // self.group_size
            # index -1 stands for the batch as a whole
            turn = uniform_numbers(step, seed, torch.tensor([-1]), "azimuth", 1)[0]
            fraction = torch.remainder((group % groups + fraction) / groups + turn, 1)
        low, high = self.cfg.azimuth_range_deg
        return between((radians(low), radians(high)), fraction)

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

    def _shading(self, step: int, seed: int, group: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        if step < self.cfg.albedo_steps:
            return torch.full_like(group, Shading.ALBEDO)
        uniform = uniform_numbers(step, seed, group, "shading", 2)
        lit = torch.where(uniform[:, 1] < self.cfg.textureless_probability, int(Shading.TEXTURELESS), int(Shading.LIT))
        return torch.where(uniform[:, 0] < self.cfg.lit_probability, lit, int(Shading.ALBEDO))

    def _lights(self, step: int, seed: int, group: Int[Tensor, "B"], camera: Cameras, shading: Int[Tensor, "B"]) -> Lights:
        cfg = self.cfg
        uniform = uniform_numbers(step, seed, group, "light", 4)
        noise = cfg.light_perturb * normal_numbers(step, seed, group, "light-perturb", 3)
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
        return Lights(position, 1 - ambient, ambient, self._environment_turn(step, seed, group))

    def _environment_turn(self, step: int, seed: int, group: Int[Tensor, "B"]) -> Float[Tensor, "B"] | None:
        if self.cfg.environment_turn_deg is None:
            return None
        return between(self.cfg.environment_turn_deg, uniform_numbers(step, seed, group, "environment", 1)[:, 0]).deg2rad()
