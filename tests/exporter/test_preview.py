"""An exported file, seen through cameras, shows the right things at the right places."""

from dataclasses import replace
from math import asin, pi, tan

import pytest
import torch
from test_topology import ball
from test_uv import with_normals

from threefusion.camera.orbit import views_around
from threefusion.exporter.bake import mean_textures, texels_of
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import write_mesh


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A ball whose front half (+x) is red and whose left half (+y) is green, from the front, the left, the back, the right."""

    def color(points):
        return torch.cat([(points[:, :2] > 0).float(), torch.zeros(len(points), 1)], -1)

    mesh = unwrap(with_normals(ball(48)), 256)
    texels = texels_of(mesh, 256)
    points = texels.interpolate(mesh.vertices)[None]
    made = mean_textures(points, points[0], lambda points, normals: {"base_color": color(points)}, "cpu")
    mesh = replace(mesh, textures={"base_color": texels.image(made["base_color"])})
    path = write_mesh(mesh, tmp_path_factory.mktemp("preview"), ["glb"])[0]
    return rasterised_views(load_glb(path), views_around(1.0, 4, 96, elevations=(0.0,)).camera)


def test_mask_has_the_area_of_the_seen_disc(views):
    pixel = 2 * tan(asin(1 / 3)) / 96
    area = views.mask.sum((1, 2, 3)) * pixel**2
    expected = pi * tan(asin(0.6 / 3)) ** 2
    assert area.tolist() == pytest.approx([expected] * 4, rel=0.02)


def test_sides_show_their_colours(views):
    middle = views.base_color[:, 48]
    right, left = middle[:, 55], middle[:, 40]
    # seen from the front (+x) the left half of the world (+y) is on the right of the picture
    assert right.round().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert left.round().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_normals_face_the_camera_and_are_unit(views):
    length = views.normal.norm(dim=-1)
    assert torch.allclose(length, views.mask[..., 0], atol=1e-5)
    middle = views.normal[:, 48, 48]
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    assert torch.allclose(middle, expected, atol=0.05)


def test_nothing_is_shown_where_the_mask_is_empty(views):
    assert (views.base_color * (1 - views.mask)).abs().max() == 0
    assert views.mask[:, 0, 0].sum() == 0
