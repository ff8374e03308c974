"""Texels under faces, wrapping, and filters that stay inside their chart."""

import pytest
import torch

from threefusion.geometry.texels import covered_texels, texels_at, wraps_of

SQUARE = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])


def looked_up(uv, size=(4, 6), wrap=("repeat", "repeat")):
    count = len(uv)
    return texels_at(torch.tensor(uv), torch.tensor(size).expand(count, 2), wraps_of(wrap).expand(count, 2))


def test_a_chart_over_the_whole_texture_has_all_texels_in_order():
    covered = covered_texels(SQUARE, (4, 6), ("repeat", "repeat"))
    assert covered.index.flatten().tolist() == covered.texel.tolist() == list(range(24))
    at = (covered.weights[..., None] * SQUARE[covered.face]).sum(1)
    assert covered.inside.all() and torch.allclose(at[0], torch.tensor([0.5 / 6, 1 - 0.5 / 4]))
    assert torch.allclose(at[-1], torch.tensor([5.5 / 6, 0.5 / 4]))


@pytest.mark.parametrize("shift", [(2.0, 0.0), (-1.0, 3.0)])
def test_coordinates_in_another_copy_of_the_texture_have_the_same_texels(shift):
    moved = covered_texels(0.5 * SQUARE + torch.tensor(shift), (8, 8), ("repeat", "repeat"))
    assert torch.equal(moved.index, covered_texels(0.5 * SQUARE, (8, 8), ("repeat", "repeat")).index)


def test_a_mirrored_copy_has_mirrored_texels():
    part = torch.tensor([[[0.1, 0.1], [0.4, 0.1], [0.4, 0.9]]])
    mirrored = torch.stack([2 - part[..., 0], part[..., 1]], -1)
    expected = covered_texels(part, (16, 16), ("mirror", "repeat"))
    found = covered_texels(mirrored, (16, 16), ("mirror", "repeat"))
    assert torch.equal(found.texel[found.inside], expected.texel[expected.inside])


def test_faces_that_are_points_in_the_texture_have_a_texel_each():
    palette = torch.tensor([[[0.3, 0.3]] * 3, [[0.8, 0.3]] * 3, [[0.3, 0.3]] * 3])
    covered = covered_texels(palette, (4, 4), ("repeat", "repeat"))
    assert covered.texel[covered.inside].tolist() == [9, 11] and covered.face[covered.inside].tolist() == [0, 1]


def test_weights_are_bilinear_and_coordinates_outside_wrap():
    texel, weights = looked_up([[0.5 / 6 + 0.25 / 6, 1 - 0.5 / 4], [0.0, 1 - 0.5 / 4]])
    assert texel[0, 0] == 0 and texel[0, 1] == 1
    assert torch.allclose(weights[0], torch.tensor([0.75, 0.25, 0.0, 0.0]), atol=1e-5)
    assert set(texel[1, :2].tolist()) == {0, 5} and torch.allclose(weights[1, :2], torch.tensor(0.5), atol=1e-5)
    assert set(looked_up([[0.0, 1 - 0.5 / 4]], wrap=("clamp", "repeat"))[0][0].tolist()) == {0, 6}
    assert looked_up([[-0.75 / 6, 1 - 0.5 / 4]], wrap=("mirror", "mirror"))[0][0, 0] == 0
    assert looked_up([[-0.75 / 6, 1 - 0.5 / 4]])[0][0, 0] == 5


def test_texels_outside_a_chart_show_the_nearest_inside():
    charts = torch.cat([0.4 * SQUARE, 0.4 * SQUARE + 0.6])
    covered = covered_texels(charts, (20, 20), ("repeat", "repeat"))
    low, high = covered.face < 2, covered.face >= 2
    # next to the lower left chart, which has 8 columns and rows: read by filters, but under no face
    assert not covered.inside[(covered.texel == 8 + 20 * 15).nonzero()].any() and (covered.texel == 8 + 20 * 15).any()
    # farther away: read by coarser filters alone
    assert not (covered.texel == 9 + 20 * 15).any()
    assert low[covered.index[15, 9]] and high[covered.index[3, 10]]
