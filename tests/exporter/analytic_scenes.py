"""Scenes in closed form: densities whose surface and colour are known, seen by a plain ray march."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from threefusion.camera.projection import camera_rays
from threefusion.geometry.geometry import HasDensity
from threefusion.material.material import Material
from threefusion.renderer.renderer import Renderer
from threefusion.types import FieldSample, Lights, RenderOutput, Scene, ViewBatch, Want

Field = Callable[[Tensor], Tensor]


class AnalyticGeometry(HasDensity):
    """Density by a formula; the points themselves are the features."""

    def __init__(self, density: Field, radius: float = 1.0) -> None:
        super().__init__()
        self.formula = density
        self.radius = radius

    def density(self, points: Tensor, covariance: Tensor | None = None) -> Tensor:
        return self.formula(points)

    def features(self, points: Tensor, covariance: Tensor | None = None) -> Tensor:
        return points

    def forward(self, points: Tensor, normals: bool, covariance: Tensor | None = None) -> FieldSample:
        return FieldSample(features=points, density=self.formula(points), points=points)


class AnalyticMaterial(Material):
    """Base colour by a formula of the position."""

    feature_width = 3

    def __init__(self, color: Field) -> None:
        super().__init__()
        self.formula = color

    def needs_normal(self, shading: Tensor) -> bool:
        return False

    def forward(self, sample: FieldSample, light: Lights, shading: Tensor) -> Tensor:
        return self.formula(sample.points)

    def textures(self, sample: FieldSample) -> dict[str, Tensor]:
        return {"base_color": self.formula(sample.points)}


class Magenta(nn.Module):
    """A background that would be seen if any of it leaked into the albedo."""

    def forward(self, directions: Tensor, view_index: Tensor, views: ViewBatch, random: bool) -> Tensor:
        return directions.new_tensor([1.0, 0.0, 1.0]).expand_as(directions)


class Marcher(Renderer):
    """The emission-absorption integral on evenly spaced samples, nothing else."""

    needs = HasDensity

    def render(self, scene: Scene, views: ViewBatch, want: Want, samples: int = 96) -> RenderOutput:
        rays, radius = camera_rays(views.camera), scene.geometry.radius
        nearest = -(rays.origins * rays.directions).sum(-1, keepdim=True)
        along = nearest + torch.linspace(-radius, radius, samples)
        points = rays.origins[:, None] + along[..., None] * rays.directions[:, None]
        sample = scene.geometry(points.reshape(-1, 3), False)
        density = torch.where(points.norm(dim=-1) < radius, sample.density.view(along.shape), 0.0)
        optical = density * (2 * radius / (samples - 1))
        weights = (-(optical.cumsum(-1) - optical)).exp() * -torch.expm1(-optical)
        color = scene.material.textures(sample)["base_color"].view(points.shape)
        opacity = weights.sum(-1, keepdim=True)
        behind = scene.background(rays.directions, rays.view_index, views, want.random)
        image = (weights[..., None] * color).sum(1) + (1 - opacity) * behind
        shape = (len(views), views.camera.height, views.camera.width, -1)
        depth = (weights * along).sum(-1, keepdim=True)
        return RenderOutput(image.view(shape), opacity.view(shape), depth.view(shape))


def make_scene(density: Field, color: Field, radius: float = 1.0) -> Scene:
    """Rendered by a `Marcher`."""
    return Scene(AnalyticGeometry(density, radius), AnalyticMaterial(color), Magenta())


def soft(sdf: Field, density: float = 200.0, width: float = 0.02) -> Field:
    """`density` inside, fading to nothing over about `width` round the surface of a signed distance."""
    return lambda points: density * torch.sigmoid(-sdf(points) / width)


def sphere(radius: float) -> Field:
    return lambda points: points.norm(dim=-1, keepdim=True) - radius


def box(*half: float) -> Field:
    """Signed distance of an axis-aligned box."""

    def distance(points: Tensor) -> Tensor:
        beyond = points.abs() - points.new_tensor(half)
        return beyond.clamp_min(0).norm(dim=-1, keepdim=True) + beyond.amax(-1, keepdim=True).clamp_max(0)

    return distance


def octant_color(points: Tensor) -> Tensor:
    """Front and back differ in red, left and right in green, top and bottom in blue; smooth in between."""
    return 0.5 + 0.4 * torch.tanh(3 * points)
