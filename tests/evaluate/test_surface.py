"""Known distances, and recovery of known yaws."""

from math import pi, radians

import pytest
import torch
from shapes import box

from threefusion.evaluate.surface import SurfacePair, rotated, surface_samples
from threefusion.types import Mesh


def test_samples_lie_on_the_surface_in_proportion_to_area():
    points, face = surface_samples(box((0.5, 0.25, 0.1)), 20000)
    outside = (points.abs() - torch.tensor([0.5, 0.25, 0.1])).amax(-1)
    assert outside.abs().max() < 1e-6
    on_top = (points[:, 2].abs() - 0.1).abs() < 1e-6
    total = 2 * (1.0 * 0.5 + 1.0 * 0.2 + 0.5 * 0.2)
    assert on_top.double().mean() == pytest.approx(2 * 1.0 * 0.5 / total, abs=0.02)
    assert torch.bincount(face, minlength=12).min() > 0


def test_a_surface_without_area_has_no_samples():
    flat = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    assert len(surface_samples(flat, 10)[0]) == 0


def test_distances_between_parallel_sheets():
    sheet = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0])
    apart = SurfacePair(sheet, sheet + torch.tensor([0.0, 0.0, 0.25])).distances()
    assert apart.chamfer == pytest.approx(0.25, abs=1e-6)
    assert apart.f_score(0.2) == 0
    assert apart.f_score(0.3) == 1


def test_f_score_is_the_harmonic_mean_of_both_shares():
    first = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    second = torch.tensor([[0.0, 0, 0]])
    assert SurfacePair(first, second).distances().f_score(0.5) == pytest.approx(2 * 0.25 * 1 / 1.25)


@pytest.mark.parametrize("degrees", [90.0, -37.0, 180.0, 5.0])
def test_a_known_yaw_is_recovered(degrees):
    points, _ = surface_samples(box((0.5, 0.2, 0.3), (0.2, 0.1, 0.0)), 3000)
    other, _ = surface_samples(box((0.5, 0.2, 0.3), (0.2, 0.1, 0.0)), 3000, seed=1)
    pair = SurfacePair(rotated(points, radians(degrees)), other)
    difference = (pair.best_yaw() + radians(degrees) + pi) % (2 * pi) - pi
    assert abs(difference) < radians(1.5)
    assert pair.distances(pair.best_yaw()).chamfer < 0.7 * pair.distances().chamfer


def test_symmetric_objects_have_yaw_zero():
    ball = torch.nn.functional.normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert SurfacePair(ball[:1500], ball[1500:]).best_yaw() == 0


def test_rotating_the_result_equals_rotating_the_truth_back():
    first, second = surface_samples(box((0.5, 0.2, 0.3)), 500)[0], surface_samples(box((0.3, 0.3, 0.3)), 400)[0]
    plain = SurfacePair(rotated(first, 0.7), second).distances()
    other = SurfacePair(first, second).distances(0.7)
    torch.testing.assert_close((plain.forth, plain.back), (other.forth, other.back), atol=1e-5, rtol=1e-4)
