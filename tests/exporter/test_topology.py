"""Welding, components, closedness, smoothing and decimation keep what they should."""

from dataclasses import replace
from math import pi

import pytest
import torch
from analytic_scenes import sphere

from threefusion.exporter.topology import (
    decimate,
    is_watertight,
    main_components,
    signed_volume,
    smooth,
    weld,
)
from threefusion.geometry.isosurface import marching_cubes, sample_density
from threefusion.geometry.normals import vertex_normals
from threefusion.geometry.tetrahedral_grid import bcc_grid
from threefusion.ops.marching_tetrahedra import marching_tetrahedra
from threefusion.types import Mesh

CUBE = Mesh(
    torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)]),
    torch.tensor(
        [
            *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
            *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
        ]
    ),
)


def ball(resolution: int = 48) -> Mesh:
    return marching_cubes(sample_density(lambda points: torch.exp(-8 * sphere(0.6)(points)), 1.0, resolution), 1.0)


def joined(*meshes: Mesh) -> Mesh:
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), torch.cat([mesh.faces for mesh in meshes]))


def test_cube_has_volume_one_and_the_other_winding_minus_one():
    assert is_watertight(CUBE)
    assert signed_volume(CUBE) == pytest.approx(1)
    assert signed_volume(replace(CUBE, faces=CUBE.faces.flip(1))) == pytest.approx(-1)


@pytest.mark.parametrize("damage", ["hole", "flipped face", "face twice"])
def test_damage_is_seen(damage):
    faces = CUBE.faces.clone()
    if damage == "hole":
        faces = faces[1:]
    elif damage == "flipped face":
        faces[0] = faces[0].flip(0)
    else:
        faces = torch.cat([faces, faces[:1]])
    assert not is_watertight(replace(CUBE, faces=faces))


def test_weld_undoes_a_split_into_separate_triangles():
    soup = Mesh(CUBE.vertices[CUBE.faces].reshape(-1, 3), torch.arange(36).view(12, 3))
    assert not is_watertight(soup)
    welded = weld(soup)
    assert len(welded.vertices) == 8
    assert is_watertight(welded)
    assert signed_volume(welded) == pytest.approx(1)


def test_weld_drops_faces_without_area():
    degenerate = Mesh(torch.cat([CUBE.vertices, CUBE.vertices[:1]]), torch.cat([CUBE.faces, torch.tensor([[0, 8, 1]])]))
    assert len(weld(degenerate).faces) == 12


def test_main_components_are_those_that_enclose_enough():
    small = Mesh(CUBE.vertices * 0.5 + 3, CUBE.faces + 8)
    kept, dropped = main_components(joined(CUBE, small), 0.2)
    assert torch.equal(kept.vertices, CUBE.vertices)
    assert torch.equal(kept.faces, CUBE.faces)
    assert dropped == pytest.approx(0.125 / 1.125)


def test_a_cavity_is_closed_and_not_counted_as_dropped():
    cavity = Mesh(CUBE.vertices * 0.5 + 0.25, CUBE.faces.flip(1) + 8)
    kept, dropped = main_components(joined(CUBE, cavity), 0.0)
    assert signed_volume(kept) == pytest.approx(1)
    assert dropped == 0


def test_smoothing_takes_noise_away_and_leaves_the_volume():
    mesh = ball()
    noise = 0.01 * torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(mesh, vertices=mesh.vertices + noise)
    result = smooth(noisy, 5)
    roughness = [float((m.vertices.norm(dim=-1) - 0.6).std()) for m in (noisy, result)]
    assert roughness[1] < 0.5 * roughness[0]
    assert signed_volume(result) == pytest.approx(signed_volume(mesh), rel=0.01)
    assert is_watertight(result)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_decimation_keeps_shape_and_closedness(share):
    mesh = ball()
    reduced = decimate(mesh, int(share * len(mesh.faces)))
    assert len(reduced.faces) <= share * len(mesh.faces)
    assert is_watertight(reduced)
    assert signed_volume(reduced) == pytest.approx(4 / 3 * pi * 0.6**3, rel=0.02)


def test_decimation_leaves_a_small_mesh_alone():
    assert decimate(CUBE, 12) is CUBE


def test_decimation_to_few_faces_stays_closed():
    reduced = decimate(ball(24), 100)
    assert len(reduced.faces) == 100 and is_watertight(reduced)


def test_normals_of_a_sphere_are_its_radii():
    mesh = ball()
    cosine = (vertex_normals(mesh) * torch.nn.functional.normalize(mesh.vertices, dim=-1)).sum(-1)
    assert cosine.min() > 0.98
    assert cosine.mean() > 0.999


def test_welding_drops_faces_back_to_back():
    """What two vertices at one point leave, which marching tetrahedra makes where a surface runs through a grid vertex."""
    count = len(CUBE.vertices)
    # the edge 0-1 is slit, and the slit filled by two faces
    faces = torch.cat([CUBE.faces, torch.tensor([[0, 1, count], [1, 0, 7]])])
    slit = Mesh(torch.cat([CUBE.vertices, CUBE.vertices[7:]]), faces)
    assert not is_watertight(slit)
    assert is_watertight(weld(slit)) and len(weld(slit).faces) == len(CUBE.faces)


def test_a_surface_of_marching_tetrahedra_is_decimated_with_its_slivers():
    positions, tets = bcc_grid(20)
    mesh = marching_tetrahedra(positions, positions.norm(dim=-1) - 0.5, tets)
    reduced = decimate(mesh, 800)
    assert len(reduced.faces) <= 800 and is_watertight(reduced)
    assert signed_volume(reduced) == pytest.approx(signed_volume(mesh), rel=0.02)
