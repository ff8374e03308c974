"""A scene is scored as its mesh would be."""

from __future__ import annotations

import pytest
import torch
from shapes import box, textured
from torch.nn.functional import avg_pool2d

from threefusion.evaluate.views import (
    BACKGROUND,
    WHITE,
    lit_from_camera,
    shaded_field_views,
    shaded_views,
    surface_views,
    with_normals,
)
from threefusion.renderer.renderer import Renderer
from threefusion.testing import small_scene
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import RenderOutput, Scene, ViewBatch, Want

BOX = with_normals(textured(box((0.4, 0.3, 0.35)), (0.9, 0.5, 0.1)))


class BoxRenderer(Renderer):
    """Sees the box, whatever the scene is."""

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        seen = surface_views(BOX, views.camera)
        return RenderOutput(seen.base_color, seen.mask, torch.zeros_like(seen.mask), normal=seen.normal if want.normals else None)


def test_views_of_a_scene_are_those_of_its_mesh() -> None:
    scene, renderer = small_scene()
    # meshes are shown with four samples per pixel
    fine = shaded_field_views(BoxRenderer(renderer.cfg), scene, scoring_cameras(48, 10))
    for ours, theirs in zip(fine, shaded_views(BOX, scoring_cameras(24, 10)), strict=True):
        assert ours.shape == (10, 48, 48, 3)
        torch.testing.assert_close(avg_pool2d(ours.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1), theirs, rtol=0, atol=1e-5)


def test_light_comes_from_the_camera() -> None:
    cameras = scoring_cameras(1, 1)
    toward = torch.nn.functional.normalize(cameras.position, dim=-1).view(1, 1, 1, 3)
    color, whole, none = torch.tensor([0.8, 0.4, 0.0]).view(1, 1, 1, 3), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    for normal, shading in ((toward, 1.0), (-toward, 0.6)):
        lit, white = lit_from_camera(color, normal, whole, cameras)
        torch.testing.assert_close(lit, shading * color)
        assert white.unique().item() == pytest.approx(WHITE * shading)
    for image in lit_from_camera(0 * color, toward, none, cameras):
        assert image.unique().item() == pytest.approx(BACKGROUND)
