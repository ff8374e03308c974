"""A scene of one geometry turned into another: silhouettes and colours agree, and nothing is random."""

from __future__ import annotations

from math import log10

import pytest
import torch
from torch.nn.functional import mse_loss

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import views_around
from threefusion.exporter.fidelity import compare, field_views
from threefusion.exporter.topology import is_watertight
from threefusion.geometry.encoding.settings import DenseGridConfig, FrequencyConfig, HashGridConfig
from threefusion.geometry.fixed_mesh import ColoredMesh
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.normals import vertex_normals
from threefusion.geometry.settings import DensityFieldConfig, FixedMeshConfig, TetrahedraConfig
from threefusion.material.settings import DiffuseConfig, NormalConfig
from threefusion.registry import build
from threefusion.renderer.settings import VolumeConfig
from threefusion.system.conversion import base_color
from threefusion.system.start import Source, context_of, start_from
from threefusion.testing.samples import small_ball
from threefusion.types import Mesh, Scene

DENSE, WAVES = DenseGridConfig(), FrequencyConfig(frequencies=4)


def scene_of(geometry) -> Scene:
    return Scene(geometry, build(DiffuseConfig()), build(SolidConfig()))


def field() -> Scene:
    """A sharp density field with colours that vary."""
    torch.manual_seed(0)
    cfg = DensityFieldConfig(encoding=DENSE, blob="magic3d", blob_scale=300.0, blob_std=0.45)
    geometry = build(cfg, BuildContext(3))
    with torch.no_grad():
        for table in geometry.encoding.parameters():
            table.normal_(0, 0.5)
        geometry.network[-1].weight[1:] *= 8
    return scene_of(geometry).requires_grad_(False)


def converted(cfg, previous: Scene) -> Scene:
    torch.manual_seed(5)
    source = Source(previous, build(VolumeConfig()), "stage coarse")
    context = context_of(3, source, 1, restoring=False)
    scene = scene_of(build(cfg, context))
    start_from(scene, source, context, seed=1)
    return scene


def shown(scene: Scene) -> Mesh:
    mesh = scene.geometry.mesh()
    mesh = Mesh(mesh.vertices.detach(), mesh.faces)
    colors = base_color(scene, mesh.vertices).detach()
    return Mesh(mesh.vertices, mesh.faces, normals=vertex_normals(mesh), colors=colors)


@pytest.mark.parametrize(
    "cfg",
    [
        TetrahedraConfig(encoding=DENSE),
        TetrahedraConfig(encoding=WAVES, hidden_layers=2),
        FixedMeshConfig(encoding=DENSE),
        FixedMeshConfig(encoding=WAVES, hidden_layers=2),
    ],
    ids=["tetrahedra copied", "tetrahedra fitted", "mesh copied", "mesh fitted"],
)
def test_a_density_field_becomes_a_surface_that_looks_the_same(cfg) -> None:
    previous = field()
    views = views_around(1.0, 6, 64, 0.3)
    before = field_views(build(VolumeConfig()), previous, views)
    scene = converted(cfg, previous)
    found = compare(shown(scene), before)
    assert found["silhouette_iou"] > 0.94 and found["albedo_psnr"] > 22
    again = converted(cfg, previous)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in scene.state_dict().items())


def test_encoding_and_network_are_copied_where_they_fit_and_only_there() -> None:
    previous = field()
    points = 0.5 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    copied = converted(TetrahedraConfig(encoding=DENSE, resolution=20), previous)
    assert torch.allclose(copied.geometry.features(points), previous.geometry.features(points), atol=1e-6)
    for other in (WAVES, HashGridConfig(levels=4)):
        geometry = build(TetrahedraConfig(encoding=other, resolution=20), BuildContext(3))
        state = {name: value.clone() for name, value in geometry.appearance.state_dict().items()}
        assert not geometry.appearance.copy_from(previous.geometry)
        assert all(torch.equal(value, state[name]) for name, value in geometry.appearance.state_dict().items())


@pytest.mark.filterwarnings("error")
def test_a_surface_without_features_takes_over_the_shape_alone() -> None:
    before = field()
    source = Source(before, build(VolumeConfig()), "stage coarse")
    context = context_of(0, source, 1, restoring=False)
    geometry = build(TetrahedraConfig(encoding=DENSE), context)
    scene = Scene(geometry, build(NormalConfig()), build(SolidConfig()))
    start_from(scene, source, context, seed=1)
    assert len(scene.geometry.mesh().faces) and geometry.features(torch.zeros(2, 3)).shape == (2, 0)


def test_a_colored_mesh_becomes_tetrahedra_and_a_fixed_mesh() -> None:
    ball = small_ball()
    previous = scene_of(ColoredMesh(Mesh(ball.vertices, ball.faces, colors=0.5 + 0.5 * ball.vertices.tanh()), 1.0))
    for cfg in (TetrahedraConfig(encoding=WAVES, resolution=40), FixedMeshConfig(encoding=WAVES)):
        scene = converted(cfg, previous)
        mesh = shown(scene)
        assert is_watertight(mesh)
        error = mse_loss(mesh.colors, base_color(previous, mesh.vertices))
        assert -10 * log10(float(error)) > 30
    assert torch.equal(mesh.vertices, ball.vertices) and torch.equal(mesh.faces, ball.faces)


def test_tetrahedra_of_another_resolution_keep_shape_and_colors() -> None:
    coarse = converted(TetrahedraConfig(encoding=DENSE, resolution=40), field())
    fine = converted(TetrahedraConfig(encoding=DENSE, resolution=64), coarse)
    assert len(fine.geometry.rest) > len(coarse.geometry.rest)
    extents = [shown(scene).vertices.abs().amax(0) for scene in (coarse, fine)]
    assert torch.allclose(*extents, atol=0.02)
    points = shown(fine).vertices[:100]
    assert torch.equal(fine.geometry.features(points), coarse.geometry.features(points))
