"""Colours reach the right texels and are those that a ray would see."""

import pytest
import torch
from analytic_scenes import AnalyticGeometry, AnalyticMaterial, octant_color, soft, sphere
from test_topology import ball
from test_uv import with_normals

from threefusion.exporter.bake import FieldColor, bake, fill, vertex_colors
from threefusion.exporter.uv import unwrap

SIZE = 128


def test_fill_copies_the_nearest_known_texel():
    texture = torch.zeros(4, 5, 1)
    known = torch.zeros(4, 5, dtype=torch.bool)
    texture[0, 0], texture[3, 4] = 1.0, 2.0
    known[0, 0] = known[3, 4] = True
    filled = fill(texture, known)[..., 0]
    places = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij"), -1)
    first, second = places.norm(dim=-1), (places - torch.tensor([3.0, 4.0])).norm(dim=-1)
    assert torch.equal(filled[first < second], torch.ones(int((first < second).sum())))
    assert torch.equal(filled[first > second], torch.full((int((first > second).sum()),), 2.0))


def test_texture_at_a_vertex_is_the_colour_there():
    mesh = unwrap(with_normals(ball(32)), SIZE)

    def color(points, normals):
        return octant_color(points)

    texture = bake(mesh, color, SIZE, "cpu")
    place = torch.stack([2 * mesh.uv[:, 0] - 1, 1 - 2 * mesh.uv[:, 1]], -1)[None, None]
    looked_up = torch.nn.functional.grid_sample(texture.permute(2, 0, 1)[None], place, align_corners=False)[0, :, 0].T
    expected = vertex_colors(mesh, color, "cpu")
    assert torch.equal(expected, octant_color(mesh.vertices))
    assert (looked_up - expected).abs().mean() < 0.01
    assert (looked_up - expected).abs().max() < 0.06


def test_normals_handed_to_the_colour_are_unit_and_outward():
    seen = []

    def color(points, normals):
        seen.append((normals.norm(dim=-1), (normals * points).sum(-1)))
        return points

    bake(unwrap(with_normals(ball(32)), SIZE), color, SIZE, "cpu")
    length, outward = (torch.cat(part) for part in zip(*seen, strict=True))
    assert torch.allclose(length, torch.ones_like(length), atol=1e-5)
    assert outward.min() > 0.4


def layered(points):
    """Red outside radius 0.5, blue inside."""
    inside = (points.norm(dim=-1, keepdim=True) < 0.5).float()
    return torch.cat([1 - inside, torch.zeros_like(inside), inside], -1)


def test_one_sample_takes_the_colour_at_the_surface():
    color = FieldColor(AnalyticGeometry(soft(sphere(0.5))), AnalyticMaterial(layered), 0.1, 1)
    point = torch.tensor([[0.49, 0.0, 0.0]])
    assert color(point, torch.tensor([[1.0, 0.0, 0.0]])).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(("density", "expected"), [(0.001, [0.5, 0.0, 0.5]), (1000.0, [1.0, 0.0, 0.0])])
def test_thin_matter_shows_its_mean_colour_and_thick_matter_its_skin(density, expected):
    geometry = AnalyticGeometry(lambda points: torch.full_like(points[:, :1], density))
    color = FieldColor(geometry, AnalyticMaterial(layered), 0.1, 8)
    shown = color(torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert shown[0].tolist() == pytest.approx(expected, abs=0.01)


def test_samples_composite_as_the_double_loop_does():
    geometry = AnalyticGeometry(soft(sphere(0.5), density=20.0, width=0.05))
    color = FieldColor(geometry, AnalyticMaterial(octant_color), 0.15, 6)
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]), dim=-1)
    point = 0.5 * direction
    transmittance, total, seen = 1.0, torch.zeros(3), 0.0
    for step in range(6):
        place = point - (-0.15 + step * 0.06) * direction
        alpha = 1 - torch.exp(-geometry.density(place)[0, 0] * 0.06)
        total += transmittance * alpha * octant_color(place)[0]
        seen += transmittance * alpha
        transmittance *= 1 - alpha
    assert torch.allclose(color(point, direction)[0], total / seen, atol=1e-4)
