"""Signed distances to meshes, against spheres, boxes and a plain comparison with every face."""

from __future__ import annotations

import time

import pytest
import torch

from threefusion.geometry.closest import SurfaceIndex, closest_on_triangles
from threefusion.geometry.mesh_distance import signed_distance, winding_number
from threefusion.geometry.tetrahedral_grid import bcc_grid
from threefusion.ops.marching_tetrahedra import marching_tetrahedra
from threefusion.types import Mesh

POINTS = 2 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(0)) - 1


def ball(center: float = 0.0, radius: float = 0.5, cells: int = 40) -> Mesh:
    positions, tets = bcc_grid(cells)
    return marching_tetrahedra(positions, (positions - torch.tensor([center, 0, 0])).norm(dim=-1) - radius, tets)


def joined(*meshes: Mesh) -> Mesh:
    first = [sum(len(mesh.vertices) for mesh in meshes[:index]) for index in range(len(meshes))]
    faces = [mesh.faces + start for mesh, start in zip(meshes, first, strict=True)]
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), torch.cat(faces))


def test_a_sphere() -> None:
    expected = POINTS.norm(dim=-1) - 0.5
    assert (signed_distance(ball(), POINTS)[:, 0] - expected).abs().max() < 0.003


def test_a_cube_of_twelve_faces_along_the_axes() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    cube = Mesh(corners, torch.tensor([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]))
    lattice = torch.cartesian_prod(*[torch.linspace(-1, 1, 9)] * 3)
    offset = lattice.abs() - 0.5
    expected = offset.clamp_min(0).norm(dim=-1) + offset.amax(-1).clamp_max(0)
    off = expected.abs() > 1e-6
    assert torch.allclose(signed_distance(cube, lattice)[off, 0], expected[off], atol=1e-5)
    assert winding_number(cube, lattice)[expected < -1e-6].unique().tolist() == [1.0]


def test_overlapping_parts_an_inverted_mesh_and_a_hole() -> None:
    expected = torch.stack([POINTS - torch.tensor([x, 0, 0]) for x in (-0.2, 0.2)]).norm(dim=-1).amin(0)
    clear = (expected - 0.4).abs() > 0.01
    both = signed_distance(joined(ball(0.2, 0.4), ball(-0.2, 0.4)), POINTS)[:, 0]
    assert torch.equal((both < 0)[clear], (expected < 0.4)[clear])
    whole = ball()
    clear = (POINTS.norm(dim=-1) - 0.5).abs() > 0.15
    inside = POINTS.norm(dim=-1) < 0.5
    inverted = Mesh(whole.vertices, whole.faces.flip(-1))
    assert torch.equal((signed_distance(inverted, POINTS)[:, 0] < 0)[clear], inside[clear])
    above = whole.vertices[whole.faces].mean(1)[:, 2] < 0.46
    torn = Mesh(whole.vertices, whole.faces[above])
    wrong = (signed_distance(torn, POINTS)[:, 0] < 0)[clear] != inside[clear]
    assert wrong.float().mean() < 0.01


def test_the_closest_point_is_that_of_a_comparison_with_every_face() -> None:
    generator = torch.Generator().manual_seed(3)
    faces = torch.stack([torch.randperm(60, generator=generator)[:3] for _ in range(80)])
    mesh = Mesh(2 * torch.rand(60, 3, generator=generator) - 1, faces)
    points = POINTS[:200]
    _, square = closest_on_triangles(points[:, None], mesh.vertices[mesh.faces].expand(200, -1, -1, -1))
    closest = SurfaceIndex(mesh).closest(points)
    assert torch.allclose(closest.distance, square.amin(-1).sqrt(), atol=2e-4)
    on = (closest.weights[..., None] * mesh.vertices[mesh.faces[closest.face]]).sum(1)
    assert torch.allclose((on - points).norm(dim=-1), closest.distance, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_few_points(count: int) -> None:
    assert signed_distance(ball(), POINTS[:count]).shape == (count, 1)


def test_a_large_mesh_takes_seconds() -> None:
    started = time.process_time()
    signed_distance(ball(cells=58), bcc_grid(26)[0])
    assert time.process_time() - started < 20
