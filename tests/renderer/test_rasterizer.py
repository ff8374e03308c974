"""The rasterizer against closed forms, the exporter's preview and the volume renderer."""

from dataclasses import replace

import pytest
import torch
import trimesh
from scenes import Ball, Rendered, volume
from torch import nn
from torch.nn.functional import normalize

from threefusion.background.environment import Environment
from threefusion.background.settings import EnvironmentConfig, SolidConfig
from threefusion.background.solid import Solid
from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays, clip_coordinates
from threefusion.errors import UserError
from threefusion.exporter.preview import rasterised_views
from threefusion.geometry.geometry import HasSurface
from threefusion.geometry.normals import vertex_normals
from threefusion.material.diffuse import Diffuse
from threefusion.material.settings import DiffuseConfig
from threefusion.ops.antialias import antialias, mesh_edges
from threefusion.ops.rasterize import interpolate, rasterize
from threefusion.renderer.rasterizer import Rasterizer
from threefusion.renderer.settings import RasterizerConfig
from threefusion.renderer.shading import shade
from threefusion.types import FieldSample, Mesh, Scene, Shading


class Shell(HasSurface):
    """A sphere with movable vertices whose features are a linear function of the points."""

    def __init__(self, size=0.6, subdivisions=4, faces=True):
        super().__init__()
        ball = trimesh.creation.icosphere(subdivisions, size)
        self.radius = 1.0
        self.vertices = nn.Parameter(torch.tensor(ball.vertices).float())
        self.triangles = torch.tensor(ball.faces)[: len(ball.faces) if faces else 0]
        self.slopes = nn.Parameter(2 * torch.eye(3))
        self.distances = None
        self.evaluated = 0

    def mesh(self):
        return Mesh(self.vertices, self.triangles)

    def features(self, points):
        self.evaluated += len(points)
        return points @ self.slopes

    def edge_distances(self):
        return self.distances


def rasterized(geometry, background=None):
    scene = Scene(geometry, Diffuse(DiffuseConfig()), background or Solid(SolidConfig(color="#000000")))
    return Rendered(scene, Rasterizer(RasterizerConfig()))


def circle(size=64, shading=Shading.LIT, count=3):
    return orbit_views(count, 0.3, 2.2, 0.8, size, size, shading)


def test_agrees_with_the_preview_of_the_same_mesh():
    geometry, views = Shell(subdivisions=3), circle(shading=Shading.ALBEDO)
    render = rasterized(geometry)(views, normals=True)
    mesh = geometry.mesh()
    textured = replace(mesh, normals=vertex_normals(mesh), uv=mesh.vertices[:, :2], textures={"base_color": torch.zeros(2, 2, 3)})
    preview = rasterised_views(textured, views.camera)
    assert ((render.opacity > 0.5).float() != preview.mask).float().mean() < 0.003
    inside = ((render.opacity == 1) & (preview.mask == 1)).expand(-1, -1, -1, 3)
    assert inside.float().mean() > 0.3
    torch.testing.assert_close(render.normal[inside], preview.normal[inside], atol=1e-5, rtol=0)


def test_agrees_with_the_volume_renderer_of_the_same_ball():
    views = circle()
    fine = {"samples_per_ray": 512}
    solid = volume(Ball(density=400.0, features=lambda points: 2 * points), **fine)(views, normals=True)
    render = rasterized(Shell())(views, normals=True)
    error = (render.opacity - solid.opacity).abs()
    assert error.mean() < 0.01
    torch.testing.assert_close(render.opacity.sum(), solid.opacity.sum(), rtol=0.01, atol=0)
    inside = (render.opacity == 1) & (solid.opacity > 0.999)
    assert inside.float().mean() > 0.3
    assert (render.depth - solid.depth).abs()[inside].mean() < 0.01
    wide = inside.expand(-1, -1, -1, 3)
    assert (render.image - solid.image).abs()[wide].mean() < 0.01
    assert ((render.normal * solid.normal).sum(-1, keepdim=True)[inside] > 0.95).all()


def test_depth_is_the_distance_along_the_ray_times_opacity():
    views = circle(96, count=1)
    render = rasterized(Shell(subdivisions=5))(views)
    rays = camera_rays(views.camera)
    along = (rays.origins * rays.directions).sum(-1)
    expected = -along - (along.square() - (rays.origins.square().sum(-1) - 0.36)).clamp_min(0).sqrt()
    inside = (render.opacity == 1).flatten()
    torch.testing.assert_close(render.depth.flatten()[inside], expected[inside], atol=5e-3, rtol=0)
    rim = ((render.opacity > 0.1) & (render.opacity < 0.9)).flatten()
    assert rim.sum() > 50
    ratio = render.depth.flatten()[rim] / render.opacity.flatten()[rim]
    torch.testing.assert_close(ratio, expected[rim], atol=0.3, rtol=0)


def test_material_is_evaluated_at_covered_pixels_only():
    geometry = Shell()
    render = rasterized(geometry)(circle())
    assert geometry.evaluated == int((render.opacity > 0.5).sum()) < render.opacity.numel() / 2


def test_normals_are_unit_where_something_is_seen_and_only_there():
    render = rasterized(Shell())(circle(), normals=True)
    length, seen = render.normal.norm(dim=-1), render.opacity[..., 0] > 0.01
    torch.testing.assert_close(length[seen], torch.ones_like(length[seen]), atol=1e-4, rtol=0)
    assert (length[~seen] == 0).all()
    assert rasterized(Shell())(circle(shading=Shading.ALBEDO)).normal is None


def test_opacity_is_what_the_background_lacks():
    """Colours and opacity are antialiased alike: over black and over white the images differ by 1 - opacity."""
    black, white = (rasterized(Shell(), Solid(SolidConfig(color=color)))(circle()) for color in ("#000000", "#ffffff"))
    torch.testing.assert_close(white.image - black.image, (1 - black.opacity).expand_as(black.image), atol=1e-5, rtol=0)
    assert ((black.opacity > 0.1) & (black.opacity < 0.9)).sum() > 50


def test_a_silhouette_moves_vertices_features_and_background():
    torch.manual_seed(0)
    rendered = rasterized(Shell(), Environment(EnvironmentConfig()))
    render = rendered(circle(), normals=True)
    render.opacity.mean().backward(retain_graph=True)
    vertices = rendered.scene.geometry.vertices
    # growing the ball covers more
    assert (vertices.grad * vertices).sum() > 0.01
    render.image.square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in rendered.scene.parameters())


@pytest.mark.parametrize("lit", [True, False])
def test_nothing_to_see_is_the_background_with_a_graph(lit):
    """No faces at all, and none in view."""
    views = circle(8, Shading.LIT if lit else Shading.ALBEDO)
    away = Shell()
    away.vertices.data += 50
    for geometry in (Shell(faces=False), away):
        for background in (Solid(SolidConfig(color="#336699")), Environment(EnvironmentConfig())):
            rendered = rasterized(geometry, background)
            render = rendered(views, normals=lit, random=True)
            assert not render.opacity.any() and not render.depth.any()
            (render.image.sum() + render.opacity.sum() + render.depth.sum()).backward()
            assert all(p.grad is None or p.grad.isfinite().all() for p in rendered.scene.parameters())
            rays = camera_rays(views.camera)
            expected = background(rays.directions, rays.view_index, views, True)
            torch.testing.assert_close(render.image.reshape(-1, 3), expected)


def test_mesh_and_edge_distances_are_part_of_the_render_and_turn_with_the_scene():
    rendered = rasterized(Shell(subdivisions=1))
    rendered.scene.geometry.distances = torch.ones(5, 2)
    render = rendered(circle(8), edge_distances=True)
    assert torch.equal(render.mesh.vertices, rendered.scene.geometry.vertices) and len(render.edge_distances) == 5
    assert rendered(circle(8)).edge_distances is None
    rendered.scene.heading.fill_(torch.pi)
    turned = rendered(circle(8)).mesh.vertices
    torch.testing.assert_close(turned, render.mesh.vertices * torch.tensor([-1.0, -1, 1]))
    turned.sum().backward()
    assert rendered.scene.geometry.vertices.grad is not None


def test_samples_are_refused_in_one_line():
    with pytest.raises(UserError, match="'rasterizer' has no samples along rays") as error:
        rasterized(Shell())(circle(8), samples=True)
    assert "\n" not in str(error.value)


def test_cameras_close_to_the_surface_and_inside_it():
    geometry = Shell()
    views = orbit_views(3, 0.1, 0.62, 1.2, 24, 24)
    inside = orbit_views(3, 0.1, 0.2, 1.2, 24, 24)
    for batch in (views, inside):
        render = rasterized(geometry)(batch, normals=True)
        (render.image.sum() + render.depth.sum() + render.normal.sum()).backward()
        assert geometry.vertices.grad.isfinite().all()
        assert render.opacity.mean() > 0.9


def test_half_precision_does_not_move_the_surface():
    rendered = rasterized(Shell())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = rendered(circle(), normals=True)
    full = rendered(circle(), normals=True)
    assert torch.equal(mixed.opacity, full.opacity)
    torch.testing.assert_close(mixed.image, full.image, atol=0.03, rtol=0)


def plainly(scene, views):
    """Image, opacity, depth and normal of whole images, pixel by pixel, antialiased and then normalised."""
    mesh, rays, camera = scene.geometry.mesh(), camera_rays(views.camera), views.camera
    clip = clip_coordinates(mesh.vertices, camera)
    fragments = rasterize(clip, mesh.faces, camera.height, camera.width)
    seen = (fragments.face >= 0).flatten()[:, None]
    values = interpolate(torch.cat([mesh.vertices, vertex_normals(mesh)], -1), mesh.faces, fragments).flatten(0, 2)
    points, normal = values[:, :3], normalize(values[:, 3:], dim=-1)
    field = FieldSample(scene.geometry.features(points), normal=normal, points=points)
    color = shade(scene, field, rays.directions, rays.view_index, views)
    behind = scene.background(rays.directions, rays.view_index, views, True)
    depth = ((points - rays.origins) * rays.directions).sum(-1, keepdim=True)
    columns = torch.cat([torch.where(seen, color, behind), seen.float(), torch.where(seen, depth, 0), normal], -1)
    pixels = antialias(columns.view(*fragments.face.shape, -1), fragments, clip, mesh.faces, mesh_edges(mesh.faces))
    image, opacity, depth, normal = pixels.split([3, 1, 1, 3], -1)
    return image, opacity, depth, normalize(normal, dim=-1) * (opacity > 0.01)


@pytest.mark.parametrize(
    "background", [Solid(SolidConfig(learned=True, random_probability=0.5)), Environment(EnvironmentConfig())]
)
def test_agrees_with_whole_images_and_their_gradients(background):
    """The renderer works on covered pixels and on those along silhouettes; the second shell is seen in front of the first."""
    rendered, views = rasterized(Shell(subdivisions=3), background), replace(circle(40), seed=3)
    geometry = rendered.scene.geometry
    geometry.vertices = nn.Parameter(
        torch.cat([geometry.vertices, 0.5 * geometry.vertices + torch.tensor([0.5, 0.1, 0.2])]).detach()
    )
    geometry.triangles = torch.cat([geometry.triangles, geometry.triangles + len(geometry.vertices) // 2])
    render = rendered(views, normals=True, random=True)
    found = render.image, render.opacity, render.depth, render.normal
    expected, gradients = plainly(rendered.scene, views), []
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(part.shape, generator=generator) for part in expected]
    for parts in (found, expected):
        total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
        gradients.append(torch.autograd.grad(total, list(rendered.scene.parameters())))
    for a, b in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5 * float(b.detach().abs().max()), rtol=0)


def test_out_of_memory_names_what_a_surface_has_to_lower():
    with pytest.raises(UserError, match=r"Lower camera.batch_size.*patch") as error:
        Rasterizer(RasterizerConfig()).reduce_memory()
    assert "samples" not in str(error.value)
