"""Voxelisation: known volumes, a naive version, and surfaces with defects."""

import pytest
import torch
from shapes import box, flipped, joined

from threefusion.evaluate.solid import inside, lattice, volume_iou
from threefusion.types import Mesh

CELL = (2 / 40) ** 3


def filled(mesh):
    return int(inside(mesh, 1.0, 40).sum()) * CELL


def winding_numbers(mesh, points):
    """The sum of the faces' solid angles over 4 pi (Van Oosterom and Strackee, 1983)."""
    a, b, c = (mesh.vertices.double()[mesh.faces[:, i]] - points.double()[:, None] for i in range(3))
    la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
    triple = (a * torch.linalg.cross(b, c)).sum(-1)
    flat = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return (2 * torch.atan2(triple, flat)).sum(-1) / (4 * torch.pi)


def test_the_lattice_is_a_rotated_cube():
    points = lattice(0.5, 10)
    assert points.mean(0).abs().max() < 1e-6
    assert points.norm(dim=-1).max() == pytest.approx(0.45 * 3**0.5, rel=1e-4)
    steps = (points.view(10, 10, 10, 3)[1:, 0, 0] - points.view(10, 10, 10, 3)[:-1, 0, 0]).norm(dim=-1)
    assert torch.allclose(steps, torch.full((9,), 0.1), atol=1e-5)


def test_volumes_are_those_of_the_solids():
    assert filled(box((0.5, 0.3, 0.4))) == pytest.approx(8 * 0.5 * 0.3 * 0.4, rel=0.02)
    assert filled(box((0.2, 0.2, 0.2), (0.3, -0.2, 0.1))) == pytest.approx(8 * 0.2**3, rel=0.04)


def test_agrees_with_the_naive_version():
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    turn = turn * torch.linalg.det(turn).sign()
    mesh = joined(box((0.4, 0.3, 0.2)), box((0.2, 0.3, 0.3), (0.3, 0.2, 0.1)))
    mesh = Mesh(mesh.vertices @ turn, mesh.faces)
    found = inside(mesh, 1.0, 16).flatten()
    assert torch.equal(found, winding_numbers(mesh, lattice(1.0, 16)).abs() > 0.5)
    assert 50 < found.sum() < 500


def test_overlap_counts_once_and_cavities_do_not_count():
    whole = inside(box((0.5, 0.5, 0.5)), 1.0, 24)
    assert torch.equal(inside(joined(box((0.5, 0.5, 0.5)), box((0.3, 0.3, 0.3))), 1.0, 24), whole)
    hollow = inside(joined(box((0.5, 0.5, 0.5)), flipped(box((0.3, 0.3, 0.3)))), 1.0, 24)
    assert torch.equal(hollow, whole & ~inside(box((0.3, 0.3, 0.3)), 1.0, 24))
    assert torch.equal(inside(flipped(box((0.5, 0.5, 0.5))), 1.0, 24), whole)


def test_a_hole_in_the_surface_changes_little():
    mesh = box((0.5, 0.5, 0.5))
    torn = inside(Mesh(mesh.vertices, mesh.faces[1:]), 1.0, 24)
    assert volume_iou(torn, inside(mesh, 1.0, 24)) > 0.6


def test_no_faces():
    empty = inside(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)), 1.0, 8)
    assert empty.sum() == 0
    assert volume_iou(empty, empty) == 0
