"""Comparison of a mesh with its scene in rendered views."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

import torch
from jaxtyping import Bool, Float, Int

from threefusion.background.settings import SolidConfig
from threefusion.background.solid import Solid
from threefusion.exporter.preview import rasterised_views
from threefusion.material.material import Material
from threefusion.renderer.renderer import Renderer
from threefusion.types import FieldSample, Lights, Mesh, Scene, ViewBatch


@dataclass(frozen=True)
class FieldViews:
    """Renders of a scene's unlit colour, without its background."""

    batch: ViewBatch
    opacity: Float[torch.Tensor, "B H W 1"]
    albedo: Float[torch.Tensor, "B H W 3"]
    """Mean colour along the ray, not weighted by the opacity; meaningless where the opacity is near 0."""

    @property
    def mask(self) -> Bool[torch.Tensor, "B H W 1"]:
        """Where more than half of the ray is absorbed."""
        return self.opacity > 0.5


def without_background(scene: Scene, heading: Float[torch.Tensor, ""]) -> Scene:
    """The same geometry and material before black, turned by `heading`."""
    bare = Scene(scene.geometry, scene.material, Solid(SolidConfig(color="#000000")).to(scene.device))
    bare.heading = heading
    return bare


class BaseColor(Material):
    """The base colour that another material bakes, whatever that one shows to cameras."""

    def __init__(self, material: Material) -> None:
        super().__init__()
        self.material = material
        self.feature_width = material.feature_width

    def needs_normal(self, shading: Int[torch.Tensor, "B"]) -> bool:
        """Never."""
        return False

    def forward(self, sample: FieldSample, light: Lights, shading: Int[torch.Tensor, "N"]) -> Float[torch.Tensor, "N 3"]:
        """Unlit."""
        return self.textures(sample)["base_color"]

    def textures(self, sample: FieldSample) -> dict[str, Float[torch.Tensor, "N C"]]:
        """The base colour alone."""
        return {"base_color": self.material.textures(sample)["base_color"].clamp(0, 1)}


def base_color_views(renderer: Renderer, scene: Scene, batch: ViewBatch) -> FieldViews:
    """Views of the base colour, from which a mesh gets its colours."""
    return field_views(renderer, unlit(scene), batch)


def unlit(scene: Scene) -> Scene:
    """The scene in its base colour, before black."""
    return without_background(Scene(scene.geometry, BaseColor(scene.material), scene.background), scene.heading)


@torch.no_grad()
def field_views(renderer: Renderer, scene: Scene, batch: ViewBatch) -> FieldViews:
    """The scene in the given views, on the CPU."""
    render = renderer(without_background(scene, scene.heading), batch.to(scene.device))
    albedo = render.image / render.opacity.clamp_min(1e-3)
    return FieldViews(batch, render.opacity.float().cpu(), albedo.clamp(0, 1).float().cpu())


def compare(mesh: Mesh, field: FieldViews) -> dict[str, float | None]:
    """`silhouette_iou` and `albedo_psnr` (dB, where both show the object; None if nowhere) of the mesh against the field."""
    surface = rasterised_views(mesh, field.batch.camera)
    covered = surface.mask > 0
    both = covered & field.mask
    overlap = int(both.sum()) / max(int((covered | field.mask).sum()), 1)
    if not both.any():
        return {"silhouette_iou": overlap, "albedo_psnr": None}
    error = float((surface.base_color - field.albedo)[both[..., 0]].square().mean())
    return {"silhouette_iou": overlap, "albedo_psnr": -10 * log10(max(error, 1e-10))}
