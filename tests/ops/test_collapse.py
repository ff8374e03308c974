"""Edge collapses keep manifolds and handles at any number of faces, and do not depend on the backend."""

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from threefusion.exporter.topology import is_watertight, surface_area
from threefusion.ops.backend import backend
from threefusion.ops.collapse import collapse_edges
from threefusion.toyworld.objects import class_mesh, class_sdf
from threefusion.types import Mesh


def plain(mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh[0].numpy(), mesh[1].numpy(), process=False)


def bumpy_square(cells: int) -> tuple[Tensor, Tensor]:
    """An open surface whose border is a square."""
    x, y = torch.meshgrid(torch.linspace(0, 1, cells + 1), torch.linspace(0, 1, cells + 1), indexing="ij")
    corner = (torch.arange(cells)[:, None] * (cells + 1) + torch.arange(cells)).flatten()
    a, b, c, d = corner, corner + cells + 1, corner + cells + 2, corner + 1
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])
    return torch.stack([x, y, 0.05 * torch.sin(7 * x) * torch.cos(5 * y)], -1).reshape(-1, 3), faces


def winged() -> tuple[Tensor, Tensor]:
    """A ball with a fin: one of its edges has three faces."""
    vertices, faces = class_mesh("ball", 12)
    fin = torch.cat([faces[0, :2], torch.tensor([len(vertices)])])
    return torch.cat([vertices, vertices[fin[:1]] * 1.5]), torch.cat([faces, fin[None]])


@pytest.mark.parametrize("count", [2000, 500])
@pytest.mark.parametrize("name", ["mug", "chair", "teapot", "bunny"])
def test_toys_stay_closed_with_their_handles_at_any_size(name, count):
    given = class_mesh(name, 64)
    reduced = collapse_edges(*given, count)
    before, after = plain(given), plain(reduced)
    assert len(reduced[1]) <= count
    assert is_watertight(Mesh(*reduced)) and after.is_watertight and after.is_winding_consistent
    assert after.euler_number == before.euler_number and after.body_count == before.body_count
    assert after.volume == pytest.approx(before.volume, rel=0.05)


def test_a_mug_keeps_its_handle():
    reduced = collapse_edges(*class_mesh("mug", 64), 100)
    assert len(reduced[1]) == 100 and plain(reduced).euler_number == 0


def test_it_ends_at_tetrahedra():
    vertices, faces = collapse_edges(*class_mesh("ball", 16), 2)
    assert len(faces) == 4 and is_watertight(Mesh(vertices, faces))


def test_the_surface_moves_little():
    vertices, _ = collapse_edges(*class_mesh("duck", 48), 1000)
    assert class_sdf("duck", vertices).abs().max() < 0.01


@pytest.mark.parametrize("make", [lambda: bumpy_square(10), lambda: class_mesh("mug", 20), winged])
def test_both_backends_give_the_same_mesh(make):
    given = make()
    meshes = []
    for name in ("numba", "torch"):
        with backend(name):
            meshes.append(collapse_edges(*given, 60))
    assert torch.equal(meshes[0][1], meshes[1][1])
    assert torch.equal(meshes[0][0], meshes[1][0])
    assert len(meshes[0][1]) < len(given[1])


def test_an_open_surface_keeps_its_border():
    vertices, faces = collapse_edges(*bumpy_square(24), 100)
    assert len(faces) <= 100
    assert surface_area(Mesh(vertices, faces)) == pytest.approx(surface_area(Mesh(*bumpy_square(24))), rel=0.02)
    assert vertices[:, :2].amin(0).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert vertices[:, :2].amax(0).tolist() == pytest.approx([1, 1], abs=1e-3)
    flat = plain((vertices * torch.tensor([1.0, 1.0, 0.0]), faces))
    assert flat.area == pytest.approx(1, abs=0.01) and flat.euler_number == 1


def test_an_edge_with_three_faces_stays():
    faces = collapse_edges(*winged(), 60)[1]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    assert sorted(np.unique(edges, axis=0, return_counts=True)[1])[-3:] == [2, 2, 3]


def test_the_given_mesh_is_left_alone():
    vertices, faces = class_mesh("ball", 12)
    copies = vertices.clone(), faces.clone()
    collapse_edges(vertices, faces, 50)
    assert torch.equal(vertices, copies[0]) and torch.equal(faces, copies[1])
