"""The mesh exporter on geometries with a surface instead of a density, and on a scene that was turned."""

import pytest
import torch
from analytic_scenes import AnalyticMaterial, Magenta, octant_color
from test_mesh_exporter import SMALL
from test_topology import ball
from torch import nn

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import clip_coordinates
from threefusion.errors import UserError
from threefusion.exporter.fidelity import field_views
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.geometry.geometry import HasSurface
from threefusion.ops.rasterize import interpolate, rasterize
from threefusion.renderer.renderer import Renderer
from threefusion.testing.scene import check_heading, check_surface
from threefusion.types import FieldSample, Mesh, RenderOutput, Scene


class Egg(HasSurface):
    """A ball whose size along each axis is trained; the points are the features."""

    radius = 1.0

    def __init__(self, size=(0.9, 0.6, 0.75)):
        super().__init__()
        self.size = nn.Parameter(torch.tensor(size))
        self.ball = ball(32)

    def mesh(self):
        return Mesh(self.ball.vertices * self.size, self.ball.faces)

    def features(self, points):
        return points


class Rasterizer(Renderer):
    """Hard visibility of a surface in its own colours."""

    needs = HasSurface

    def render(self, scene, views, want):
        mesh, camera = scene.geometry.mesh(), views.camera
        fragments = rasterize(clip_coordinates(mesh.vertices, camera).detach(), mesh.faces, camera.height, camera.width)
        mask = (fragments.face >= 0)[..., None].float()
        points = interpolate(mesh.vertices, mesh.faces, fragments).reshape(-1, 3)
        color = scene.material.textures(FieldSample(scene.geometry.features(points), points=points))["base_color"]
        normal = nn.functional.normalize(points, dim=-1).reshape(*mask.shape[:3], 3) * mask
        return RenderOutput(color.reshape(*mask.shape[:3], 3) * mask, mask, mask, normal if want.normals else None)


def egg():
    return Scene(Egg(), AnalyticMaterial(octant_color), Magenta())


def export(scene, folder):
    return MeshExporter(MeshExporterConfig(**SMALL)).export(scene, Rasterizer(), folder)


def test_a_toy_surface_keeps_the_contract_of_its_capability():
    check_surface(Egg(), lambda seed: Egg())
    check_heading(egg(), Rasterizer())


def test_a_surface_is_exported_as_it_is(tmp_path):
    exported = export(egg(), tmp_path)
    assert exported.report["silhouette_iou"] > 0.97 and exported.report["albedo_psnr"] > 30 and exported.report["watertight"]
    extent = exported.mesh.vertices.amax(0) - exported.mesh.vertices.amin(0)
    assert torch.allclose(extent / extent[0], torch.tensor([1.0, 0.6 / 0.9, 0.75 / 0.9]), atol=0.03)
    assert "level" not in exported.report and not exported.mesh.vertices.requires_grad


def test_the_mesh_of_a_turned_scene_is_what_its_renderer_shows(tmp_path):
    scene = egg()
    scene.heading.fill_(1.0)
    exported = export(scene, tmp_path)
    views = views_around(1.0, 4, 48)
    field, surface = field_views(Rasterizer(), scene, views), rasterised_views(exported.mesh, views.camera)
    both = field.mask & (surface.mask > 0)
    assert both.sum() > 0.97 * (field.mask | (surface.mask > 0)).sum()
    assert (field.albedo - surface.base_color)[both[..., 0]].abs().mean() < 0.02


class Kept(Egg):
    """The egg as a user's mesh: a hole at the top, a small part apart from it, vertices that no smoothing would leave."""

    keeps_mesh = True

    def mesh(self):
        egg = super().mesh()
        bumps = 1 + 0.02 * (torch.arange(len(egg.vertices)) % 2)[:, None]
        aside = 0.05 * self.ball.vertices + torch.tensor([0.0, 0.0, 0.8])
        faces = torch.cat([egg.faces[5:], self.ball.faces + len(egg.vertices)])
        return Mesh(torch.cat([egg.vertices * bumps, aside]), faces)


def test_a_mesh_to_keep_is_written_as_it_is(tmp_path):
    """Open, in two parts and over the budget: every corner of every face is in the file."""
    scene = Scene(Kept(), AnalyticMaterial(octant_color), Magenta())
    exported = MeshExporter(MeshExporterConfig(**SMALL | {"max_faces": 100})).export(scene, Rasterizer(), tmp_path)
    mesh, written = scene.geometry.mesh(), load_glb(exported.paths[0])
    assert torch.equal(written.vertices[written.faces], mesh.vertices[mesh.faces].detach())
    assert exported.report["watertight"] is False and exported.report["dropped_volume"] == 0


class Dome(HasSurface):
    """An open surface: a height field over a disc, finer than the budget."""

    radius = 1.0

    def mesh(self):
        axis = torch.linspace(-0.6, 0.6, 60)
        x, y = torch.meshgrid(axis, axis, indexing="ij")
        corner = torch.arange(3600).view(60, 60)
        a, b, c, d = (part.flatten() for part in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
        faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])
        return Mesh(torch.stack([x, y, 0.3 * torch.cos(3 * x) * torch.cos(3 * y)], -1).reshape(-1, 3), faces)

    def features(self, points):
        return points


def test_an_open_surface_is_decimated_too(tmp_path):
    scene = Scene(Dome(), AnalyticMaterial(octant_color), Magenta())
    exported = MeshExporter(MeshExporterConfig(**SMALL | {"max_faces": 1500})).export(scene, Rasterizer(), tmp_path)
    assert exported.report["faces"] <= 1500 and not exported.report["watertight"]
    assert exported.report["silhouette_iou"] > 0.95 and exported.report["albedo_psnr"] > 30


def test_a_surface_that_is_not_finite_gets_a_sentence(tmp_path):
    scene = egg()
    scene.geometry.size.data[0] = torch.nan
    with pytest.raises(UserError, match="surface is not finite"):
        export(scene, tmp_path)
