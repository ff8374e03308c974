"""Edges and triangles: numba against torch, bit for bit, and both against loops."""

import pytest
import torch

from threefusion.geometry.tetrahedral_grid import bcc_grid
from threefusion.ops.antialias import mesh_edges
from threefusion.ops.backend import backend, kernels
from threefusion.ops.marching_tetrahedra import crossed_edges
from threefusion.ops.parallel import use_threads


def grids():
    generator = torch.Generator().manual_seed(0)
    positions, tets = bcc_grid(7)
    yield positions.norm(dim=-1) - 0.6, tets
    yield torch.randn(len(positions), generator=generator), tets
    yield torch.randn(40, generator=generator), torch.randint(40, (90, 4), generator=generator)
    yield torch.ones(5), tets[:0].clamp(max=4)
    yield torch.tensor([-1.0, 1, 1, torch.nan]), torch.tensor([[0, 1, 2, 3]])


def meshes():
    generator = torch.Generator().manual_seed(1)
    for distance, tets in grids():
        yield crossed_edges(distance, tets)[1]
    # many faces at an edge, of either winding, and faces with two corners at one vertex
    yield torch.randint(9, (60, 3), generator=generator)
    # a fan: many edges at one vertex
    rim = torch.randperm(200, generator=generator) + 1
    yield torch.stack([torch.zeros_like(rim), rim, rim % 200 + 1], 1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_crossed_edges_are_the_same_on_every_backend(dtype):
    for distance, tets in grids():
        with backend("torch"):
            expected = crossed_edges(distance, tets.to(dtype))
        for threads in (1, 3):
            with backend("numba"), use_threads(threads):
                found = crossed_edges(distance, tets.to(dtype))
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_crossed_edges_are_those_whose_ends_differ(name):
    distance, tets = list(grids())[1]
    inside = (distance < 0).tolist()
    expected = {(min(a, b), max(a, b)) for tet in tets.tolist() for a in tet for b in tet if inside[a] != inside[b]}
    with backend(name):
        edges, faces = crossed_edges(distance, tets)
    assert edges.tolist() == [list(edge) for edge in sorted(expected)]
    assert torch.equal(faces.unique(), torch.arange(len(edges)))


def test_edges_of_meshes_are_the_same_on_every_backend():
    for faces in meshes():
        with backend("torch"):
            expected = mesh_edges(faces)
        with backend("numba"):
            found = mesh_edges(faces)
        assert torch.equal(found.ends, expected.ends) and torch.equal(found.half, expected.half)


@pytest.mark.parametrize("corner", [-1, 4, 2**31 - 1])
def test_corners_that_do_not_exist_are_refused(corner):
    with backend("numba"), pytest.raises(IndexError, match="4"):
        crossed_edges(torch.tensor([-1.0, 1, 1, 1]), torch.tensor([[0, 1, 2, 3], [0, 1, 2, corner]]))


def test_silhouettes_are_the_same_on_every_backend():
    generator = torch.Generator().manual_seed(2)
    for faces in meshes():
        # vertices behind the camera too
        clip = torch.randn(3, int(faces.max()) + 1 if len(faces) else 4, 4, generator=generator)
        half = mesh_edges(faces).half
        with backend("torch"):
            expected = kernels("topology", clip.device).silhouettes(clip, faces, half)
        for threads in (1, 3):
            with backend("numba"), use_threads(threads):
                found = kernels("topology", clip.device).silhouettes(clip, faces, half)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_faces_of_any_integer_type_have_the_same_edges(name):
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    with backend(name):
        narrow, wide = mesh_edges(faces.int()), mesh_edges(faces)
    assert torch.equal(narrow.ends, wide.ends) and torch.equal(narrow.half, wide.half)
