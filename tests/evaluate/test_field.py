"""Field metrics on synthetic views with known results."""

from math import log10

import pytest
import torch
from shapes import box, joined, textured

from threefusion.camera.orbit import views_around
from threefusion.evaluate.field import color_spread, fidelity, opacity_entropy
from threefusion.evaluate.views import surface_views
from threefusion.exporter.fidelity import FieldViews
from threefusion.types import Mesh

BOX = textured(box((0.4, 0.3, 0.35)), (0.5, 0.5, 0.5))


def field_of(colors, opacity=1.0, views=12, size=40):
    """A field that looks like the box; view i has the colour `colors[i % len(colors)]`."""
    batch = views_around(1.0, views, size)
    mask = surface_views(BOX, batch.camera).mask
    albedo = torch.tensor(colors)[torch.arange(views) % len(colors)].view(views, 1, 1, 3).expand(*mask.shape[:3], 3)
    return FieldViews(batch, mask * opacity, albedo.contiguous())


def test_a_constant_colour_has_no_spread():
    assert color_spread(BOX, field_of([(0.2, 0.6, 0.4)])) == pytest.approx(0, abs=1e-9)


def test_colours_that_alternate_spread_by_half_their_distance():
    # with 48 views, points see about as many even views as odd ones
    format_summary = color_spread(BOX, field_of([(0.3, 0.5, 0.5), (0.5, 0.5, 0.5)], views=48))
    assert format_summary == pytest.approx(0.1, rel=0.03)


def test_points_without_views_are_left_out():
    assert color_spread(BOX, field_of([(0.2, 0.6, 0.4)], opacity=0.3)) is None
    assert color_spread(textured(box((0.0, 0.0, 0.0)), (0.5, 0.5, 0.5)), field_of([(0.2, 0.6, 0.4)])) is None


def test_hidden_points_are_not_read():
    # of the black box behind the white one, the side that looks at it is seen from the side alone
    boxes = joined(box((0.08, 0.4, 0.4), (0.3, 0.0, 0.0)), box((0.08, 0.4, 0.4), (-0.3, 0.0, 0.0)))
    u = torch.tensor([0.1, 0.9]).repeat_interleave(8)
    black_and_white = {"base_color": torch.tensor([1.0, 0.0]).repeat_interleave(4).view(1, 8, 1).repeat(2, 1, 3)}
    mesh = Mesh(boxes.vertices, boxes.faces, None, torch.stack([u, torch.full_like(u, 0.5)], -1), black_and_white)
    batch = views_around(1.0, 24, 128)
    seen = surface_views(mesh, batch.camera)
    # what is left is read beside edges
    assert color_spread(mesh, FieldViews(batch, seen.mask, seen.base_color)) < 0.01


@pytest.mark.parametrize(("opacity", "bits"), [(0.5, 1.0), (0.0, 0.0), (1.0, 0.0), (0.25, 0.8112781)])
def test_entropy_of_known_opacities(opacity, bits):
    field = FieldViews(views_around(1.0, 1, 4), torch.full((1, 4, 4, 1), opacity), torch.zeros(1, 4, 4, 3))
    assert opacity_entropy(field) == pytest.approx(bits, abs=1e-6)


def test_fidelity_of_a_matching_field_and_of_one_that_is_off():
    same = fidelity(BOX, field_of([(0.5, 0.5, 0.5)]))
    assert same["silhouette_iou"] == 1 and same["psnr"] > 60
    off = fidelity(BOX, field_of([(0.6, 0.5, 0.5)]))
    assert off["psnr"] == pytest.approx(-10 * log10(0.01 / 3), abs=0.01)
    assert fidelity(None, field_of([(0.5, 0.5, 0.5)])) == fidelity(BOX, None) == {"silhouette_iou": None, "psnr": None}
