"""Marching tetrahedra and their grid, against shapes whose area, volume and gradients are known."""

from __future__ import annotations

from itertools import product
from math import pi

import pytest
import torch

from threefusion.exporter.topology import is_watertight, signed_volume
from threefusion.geometry.tetrahedral_grid import bcc_grid, volumes
from threefusion.ops.marching_tetrahedra import marching_tetrahedra
from threefusion.types import Mesh

TET = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def area(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2)


def euler(mesh: Mesh) -> int:
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).sort(-1).values
    return len(mesh.vertices) - len(torch.unique(edges, dim=0)) + len(mesh.faces)


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_tetrahedra_have_positive_volumes_and_fill_the_cube(cells: int) -> None:
    positions, tets = bcc_grid(cells)
    inside = volumes(positions, tets)
    assert inside.min() > 0 and inside.sum().item() == pytest.approx(8, rel=1e-5)
    assert len(torch.unique(tets)) == len(positions) == (cells + 1) ** 3 + cells**3
    # every triangle belongs to two tetrahedra, or lies in the cube's border
    sides = torch.cat([tets[:, keep] for keep in ([0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3])]).sort(-1).values
    shared, count = torch.unique(sides, dim=0, return_counts=True)
    border = (positions[shared].abs() == 1).all(1).any(-1)
    assert torch.equal(count == 1, border) and count.max() <= 2


@pytest.mark.parametrize("signs", [signs for signs in product([-1.0, 1.0], repeat=4) if len(set(signs)) > 1])
def test_each_case_faces_outward_and_separates_the_corners(signs: tuple[float, ...]) -> None:
    distance = torch.tensor(signs) * torch.tensor([1.0, 2, 3, 4])
    mesh = marching_tetrahedra(TET, distance, torch.tensor([[0, 1, 2, 3]]))
    assert len(mesh.faces) == (2 if distance.sign().sum() == 0 else 1)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    for corner, value in zip(TET, distance, strict=True):
        assert (((corner - a) * normal).sum(-1) * value > 0).all()


def test_no_change_of_sign_is_no_surface() -> None:
    positions, tets = bcc_grid(3)
    for distance in (torch.ones(len(positions)), -torch.ones(len(positions)), torch.full((len(positions),), torch.nan)):
        mesh = marching_tetrahedra(positions, distance, tets)
        assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)


@pytest.mark.parametrize("radius", [0.3, 0.6, 0.8])
def test_a_sphere_is_closed_and_as_large_as_it_should_be(radius: float) -> None:
    positions, tets = bcc_grid(40)
    mesh = marching_tetrahedra(positions, positions.norm(dim=-1) - radius, tets)
    assert is_watertight(mesh) and euler(mesh) == 2
    assert signed_volume(mesh) == pytest.approx(4 / 3 * pi * radius**3, rel=0.01)
    assert area(mesh) == pytest.approx(4 * pi * radius**2, rel=0.01)


def test_a_torus_has_a_hole() -> None:
    positions, tets = bcc_grid(24)
    distance = torch.stack([positions[:, :2].norm(dim=-1) - 0.6, positions[:, 2]], -1).norm(dim=-1) - 0.25
    mesh = marching_tetrahedra(positions, distance, tets)
    assert is_watertight(mesh) and euler(mesh) == 0
    assert signed_volume(mesh) == pytest.approx(2 * pi**2 * 0.6 * 0.25**2, rel=0.02)


def test_random_signs_and_displaced_vertices_stay_closed() -> None:
    positions, tets = bcc_grid(6)
    generator = torch.Generator().manual_seed(0)
    distance = torch.randn(len(positions), generator=generator)
    distance[(positions.abs() == 1).any(-1)] = 1.0
    # a vertex that moves by less than a quarter of a cell turns no tetrahedron inside out
    moved = positions + (2 * torch.rand(positions.shape, generator=generator) - 1) * 0.25 / 3**0.5 * (2 / 6)
    assert volumes(moved, tets).min() > 0
    assert is_watertight(marching_tetrahedra(moved, distance, tets))


def test_gradients_agree_with_differences() -> None:
    positions, tets = bcc_grid(2)
    generator = torch.Generator().manual_seed(1)
    distance = torch.randn(len(positions), generator=generator, dtype=torch.float64).requires_grad_()
    positions = positions.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, d: marching_tetrahedra(p, d, tets).vertices, (positions, distance))


def test_gradients_are_finite_where_a_vertex_lies_on_the_surface() -> None:
    distance = torch.tensor([-1e-30, 0.0, 0.0, 1.0], requires_grad=True)
    mesh = marching_tetrahedra(TET, distance, torch.tensor([[0, 1, 2, 3]]))
    mesh.vertices.sum().backward()
    assert mesh.vertices.isfinite().all() and distance.grad.isfinite().all()
