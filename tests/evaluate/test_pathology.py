"""Constructed pathologies are measured correctly."""

import pytest
import torch
from shapes import box, flipped, joined, textured

from threefusion.evaluate.pathology import color_flaws, emptiness, shape_flaws
from threefusion.evaluate.views import framing, shaded_views, surface_views
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Mesh


def test_floaters_are_measured_by_area_and_volume():
    large, small = box((0.4, 0.4, 0.4)), box((0.1, 0.1, 0.1), (0.6, 0.0, 0.0))
    flaws = shape_flaws(joined(large, small))
    assert flaws["components"] == 2
    assert flaws["floater_area"] == pytest.approx(1 / 17)
    assert flaws["floater_volume"] == pytest.approx(1 / 65)


def test_a_cavity_is_no_component():
    flaws = shape_flaws(joined(box((0.4, 0.4, 0.4)), flipped(box((0.1, 0.1, 0.1)))))
    assert flaws == {"components": 1, "floater_area": 0, "floater_volume": 0}


def test_vertices_split_at_seams_are_one_component():
    whole = box((0.4, 0.4, 0.4))
    apart = Mesh(whole.vertices[whole.faces].reshape(-1, 3), torch.arange(36).view(-1, 3))
    assert shape_flaws(apart)["components"] == 1


def test_a_mesh_without_interior_has_no_components():
    assert shape_flaws(flipped(box((0.4, 0.4, 0.4)))) == {"components": 0, "floater_area": None, "floater_volume": None}


def test_emptiness_is_the_share_of_empty_views():
    mask = torch.zeros(4, 20, 20, 1)
    mask[0] = 1
    mask[1, :2] = 1
    mask[2, 0, 0] = 1
    assert emptiness(mask) == 0.5


def test_saturation_and_clipping_of_known_colours():
    flaws = color_flaws(torch.tensor([[0.5, 0.5, 0.5], [0.8, 0.4, 0.2], [1.0, 0.5, 0.5], [0.0, 0.5, 0.25]]))
    assert flaws["saturation"] == pytest.approx((0 + 0.75 + 0.5 + 1) / 4)
    assert flaws["clipped"] == 0.5


def test_the_first_camera_sees_the_front_and_elevations_take_turns():
    cameras = scoring_cameras(8, 5)
    assert cameras.position[0].tolist() == pytest.approx([2, 0, 0], abs=1e-6)
    assert [round(e) for e in cameras.elevation.rad2deg().tolist()] == [0, 15, 30, 0, 15]


@pytest.mark.parametrize("size", [0.02, 1.0, 30.0])
def test_framing_is_scale_invariant(size):
    mesh = textured(box((0.3 * size, 0.4 * size, 0.2 * size)), (1.0, 0.0, 0.0))
    seen = surface_views(mesh, scoring_cameras(32, 3, scale=framing(mesh))).mask
    reference = textured(box((0.3, 0.4, 0.2)), (1.0, 0.0, 0.0))
    expected = surface_views(reference, scoring_cameras(32, 3, scale=framing(reference))).mask
    assert (seen != expected).float().mean() < 0.01
    assert 0.1 < seen.mean() < 0.6


def test_views_in_colour_and_textureless():
    mesh = textured(box((0.4, 0.4, 0.4)), (0.8, 0.1, 0.1))
    color, white = shaded_views(mesh, scoring_cameras(17, 1))
    assert color[0, 0, 0].tolist() == pytest.approx([0.2] * 3) == white[0, 0, 0].tolist()
    # normals at corners lean outward, so the middle of a face is lit a little less than fully
    assert 0.6 * 0.8 < color[0, 8, 8, 0] <= 0.8
    assert (color[0, 8, 8] / color[0, 8, 8, 0]).tolist() == pytest.approx([1, 0.125, 0.125])
    assert white[0, 8, 8].std() < 1e-6 and white[0, 8, 8, 0] == pytest.approx(float(color[0, 8, 8, 0]) * 0.9 / 0.8)
