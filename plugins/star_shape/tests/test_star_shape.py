"""Its contract, what its surface is before training, and an export."""

from math import pi

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.topology import is_watertight, signed_volume
from threefusion.registry import build
from threefusion.renderer.settings import RasterizerConfig
from threefusion.testing import check_component, small_scene


def settings(**given):
    return settings_class("geometry", "star-shape")(**given)


def test_contract():
    check_component("geometry", "star-shape", subdivisions=2)


def test_training_starts_from_about_a_sphere():
    scene, _ = small_scene(geometry=settings(radius=2.0, start=0.4), renderer=RasterizerConfig())
    mesh = scene.geometry.mesh()
    assert len(mesh.faces) == 20 * 4**5
    assert is_watertight(mesh)
    assert signed_volume(mesh) == pytest.approx(4 / 3 * pi * 0.8**3, rel=0.1)


def test_every_shape_is_closed_and_in_the_ball():
    geometry = small_scene(geometry=settings(subdivisions=3), renderer=RasterizerConfig())[0].geometry
    for parameter in geometry.shape.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    mesh = geometry.mesh()
    assert is_watertight(mesh) and signed_volume(mesh) > 0
    assert mesh.vertices.norm(dim=-1).max() <= geometry.radius


def test_silhouettes_move_the_vertices():
    """A loss on the opacity of a render reaches the shape and makes it larger."""
    from threefusion.testing import views

    scene, renderer = small_scene(geometry=settings(subdivisions=3, radius=0.7), renderer=RasterizerConfig())
    optimizer = torch.optim.Adam(scene.parameters(), 0.01)
    before = signed_volume(scene.geometry.mesh())
    for _ in range(5):
        optimizer.zero_grad()
        (-renderer(scene, views(2, 32)).opacity.mean()).backward()
        optimizer.step()
    assert signed_volume(scene.geometry.mesh()) > 1.05 * before


def test_export_is_the_surface_itself(tmp_path):
    scene, renderer = small_scene(geometry=settings(subdivisions=3), renderer=RasterizerConfig())
    cfg = MeshExporterConfig(texture_size=64, views=2, view_size=48, smoothing=0)
    exported = build(cfg).export(scene, renderer, tmp_path)
    assert exported.report["watertight"] and exported.report["faces"] == 20 * 4**3
    assert exported.report["silhouette_iou"] > 0.97
