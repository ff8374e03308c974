"""Colours reach the right texels and are those that a ray would see."""

from math import exp, log

import pytest
import torch
from analytic_scenes import AnalyticGeometry, AnalyticMaterial, octant_color, soft, sphere
from test_topology import ball
from test_uv import with_normals

import threefusion.exporter.bake as bake_module
from threefusion.exporter.bake import absorption_layers, field_textures, fill, mean_textures, texels_of
from threefusion.exporter.uv import unwrap
from threefusion.geometry.isosurface import sample_density, sample_grid
from threefusion.types import Mesh

SIZE = 128


def bake(mesh, layers, color):
    """The base colour by a formula of the position."""
    texels = texels_of(mesh, SIZE)
    points = torch.stack([texels.interpolate(layer) for layer in layers])
    return texels.image(at_points(points, color))


def at_points(layers, color):
    return mean_textures(layers, layers[0], lambda points, normals: {"base_color": color(points)}, "cpu")["base_color"]


def test_fill_copies_the_nearest_known_texel():
    texture = torch.zeros(4, 5, 1)
    known = torch.zeros(4, 5, dtype=torch.bool)
    texture[0, 0], texture[3, 4] = 1.0, 2.0
    known[0, 0] = known[3, 4] = True
    filled = fill(texture, known)[..., 0]
    places = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij"), -1)
    first, second = places.norm(dim=-1), (places - torch.tensor([3.0, 4.0])).norm(dim=-1)
    assert (filled[first < second] == 1).all()
    assert (filled[first > second] == 2).all()


def test_texture_at_a_vertex_is_the_colour_there():
    """Also on charts so thin that no texel has its centre on them."""
    mesh = unwrap(with_normals(ball(32)), SIZE)
    texture = bake(mesh, mesh.vertices[None], octant_color)
    place = torch.stack([2 * mesh.uv[:, 0] - 1, 1 - 2 * mesh.uv[:, 1]], -1)[None, None]
    looked_up = torch.nn.functional.grid_sample(texture.permute(2, 0, 1)[None], place, align_corners=False)[0, :, 0].T
    expected = at_points(mesh.vertices[None], octant_color)
    assert torch.equal(expected, octant_color(mesh.vertices))
    assert (looked_up - expected).abs().mean() < 0.01
    assert (looked_up - expected).abs().max() < 0.06


def test_several_layers_give_the_mean_of_their_textures():
    mesh = unwrap(with_normals(ball(16)), SIZE)
    layers = torch.stack([mesh.vertices, 0.5 * mesh.vertices])
    both = bake(mesh, layers, octant_color)
    apart = [bake(mesh, layer[None], octant_color) for layer in layers]
    assert torch.allclose(both, (apart[0] + apart[1]) / 2, atol=1e-6)


def test_field_colour_is_the_material_s_and_asks_for_the_covariance_only_where_needed():
    asked = []

    class Blurred(AnalyticGeometry):
        def features(self, points, covariance=None):
            asked.append(covariance)
            return super().features(points)

    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    geometry = Blurred(soft(sphere(0.5)))
    for covariance in (None, 0.25):
        textures = field_textures(geometry, AnalyticMaterial(octant_color), covariance)
        assert torch.equal(textures(points, points)["base_color"], octant_color(points))
    assert asked[0] is None
    assert torch.equal(asked[1], torch.full((5, 3), 0.25))


def one_vertex(*place: float) -> Mesh:
    vertices = torch.tensor([place])
    return Mesh(vertices, torch.zeros(1, 3, dtype=torch.int64), torch.nn.functional.normalize(vertices, dim=-1))


@pytest.mark.parametrize("density", [3.0, 30.0])
def test_layers_lie_where_equal_shares_are_lost(density):
    """In uniform matter the share 1 - exp(-density depth) is lost down to a depth."""
    grid = sample_density(lambda points: torch.full_like(points[:, :1], density), 1.0, 65)
    layers = absorption_layers(grid, one_vertex(0.9, 0.0, 0.0), 4)
    # the walk begins one cell outside and is at most one radius deep
    total = 1 - exp(-density * (1 + grid.cell))
    expected = [0.9 + grid.cell + log(1 - (part + 0.5) / 4 * total) / density for part in range(4)]
    assert layers[:, 0, 0].tolist() == pytest.approx(expected, abs=0.002)
    assert layers[:, 0, 1:].abs().max() < 1e-6


def test_layers_of_a_sharp_field_lie_on_its_surface():
    grid = sample_density(soft(sphere(0.5), density=1000.0, width=0.002), 1.0, 129)
    layers = absorption_layers(grid, one_vertex(0.3, -0.2, 0.36), 3)
    assert (layers.norm(dim=-1) - 0.5).abs().max() < 1.5 * grid.cell


def test_layers_in_empty_space_are_finite():
    grid = sample_density(lambda points: torch.zeros_like(points[:, :1]), 1.0, 33)
    assert absorption_layers(grid, one_vertex(0.5, 0.0, 0.0), 2).isfinite().all()


def test_the_density_under_the_vertices_is_sampled_in_chunks(monkeypatch):
    """All at once took a hundred megabytes for an ordinary mesh; each vertex has the layers that it has alone."""
    grid, mesh = sample_density(soft(sphere(0.5), density=20.0, width=0.1), 1.0, 33), with_normals(ball(48))
    sizes = []

    def counted(grid, points):
        sizes.append(points.shape[:2].numel())
        return sample_grid(grid, points)

    monkeypatch.setattr(bake_module, "sample_grid", counted)
    layers = absorption_layers(grid, mesh, 2)
    assert len(sizes) > 1 and max(sizes) <= bake_module.CHUNK
    for index in (0, len(mesh.vertices) // 2, len(mesh.vertices) - 1):
        alone = Mesh(mesh.vertices[index : index + 1], mesh.faces[:0], mesh.normals[index : index + 1])
        assert torch.equal(layers[:, index], absorption_layers(grid, alone, 2)[:, 0])
