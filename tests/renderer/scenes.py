"""Scenes whose images are known in closed form."""

from dataclasses import dataclass

import torch

from threefusion.background.settings import SolidConfig
from threefusion.background.solid import Solid
from threefusion.config.catalogue import settings_class
from threefusion.geometry.density_field import DensityField
from threefusion.geometry.geometry import BuildContext, HasDensity
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.material.diffuse import Diffuse
from threefusion.material.settings import DiffuseConfig
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import VolumeConfig
from threefusion.renderer.volume import Volume
from threefusion.types import FieldSample, Scene, Want, view_generator


class Ball(HasDensity):
    """A ball of constant density; colours are constant or given by a function of the points."""

    def __init__(self, density=2.0, size=0.6, radius=1.0, center=(0.0, 0.0, 0.0), features=lambda p: torch.zeros_like(p)):
        super().__init__()
        self.level, self.size, self.radius, self.formula = density, size, radius, features
        self.center = torch.tensor(center)

    def forward(self, points, normals, covariance=None):
        normal = torch.nn.functional.normalize(points - self.center, dim=-1) if normals else None
        return FieldSample(self.features(points), self.density(points), normal=normal, points=points)

    def density(self, points, covariance=None):
        return self.level * ((points - self.center).norm(dim=-1, keepdim=True) < self.size)

    def features(self, points, covariance=None):
        return self.formula(points)


@dataclass
class Rendered:
    """A scene with its renderer: call it with views and what is wanted."""

    scene: Scene
    renderer: Renderer

    def __call__(self, views, **want):
        return self.renderer(self.scene, views, Want(**want))

    def update(self, step):
        self.renderer.update(self.scene, step, view_generator(0, step, 0, "on_step"))


def volume(geometry, sampler="uniform", samples_per_ray=64, background=None, sampling=None, **settings):
    choice = settings_class("sampler", sampler)(samples_per_ray=samples_per_ray, **(sampling or {}))
    scene = Scene(geometry, Diffuse(DiffuseConfig()), background or Solid(SolidConfig(color="#000000")))
    return Rendered(scene, Volume(VolumeConfig(sampler=choice, **settings)))


def small_field(encoding="dense-grid", **settings):
    torch.manual_seed(0)
    size = {"dense-grid": {"levels": 1, "features": 4, "base_resolution": 8}, "integrated": {"frequencies": 3}}[encoding]
    config = DensityFieldConfig(encoding=settings_class("encoding", encoding)(**size), hidden_width=16, **settings)
    field = DensityField(config, BuildContext(feature_width=3))
    for name, parameter in field.named_parameters():
        if "table" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return field
