"""Colours of an exported mesh are those of renders, the same in every run, and a cut surface is reported."""

import hashlib

import numpy as np
import pytest
import torch
from analytic_scenes import Marcher, box, make_scene, octant_color, soft, sphere

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import clip_coordinates
from threefusion.exporter.bake import THIN_STEPS, texels_of
from threefusion.exporter.color_fit import ELEVATIONS, SMALLNESS, SMOOTHNESS, color_offsets
from threefusion.exporter.fidelity import base_color_views, compare
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.topology import area_beyond, first_of
from threefusion.ops.parallel import use_threads
from threefusion.ops.rasterize import rasterize, rasterize_plane
from threefusion.types import Mesh

SMALL = {"resolution": 32, "texture_size": 64, "max_faces": 1000, "views": 4, "view_size": 24}


def shell_color(points):
    """Red where rays arrive, green and blue deeper: a surface of one depth has another mean than a picture."""
    depth = (0.7 - points.norm(dim=-1, keepdim=True)).clamp(0, 0.3) / 0.3
    return torch.cat([1 - depth, depth, 0.5 + 0.5 * depth * points[:, :1].sign()], -1)


def foggy(color):
    return make_scene(soft(sphere(0.6), density=12.0, width=0.03), color)


def bias(scene, mesh):
    """Mean difference of colours in views that the fit has not seen."""
    field = base_color_views(Marcher(), scene, views_around(1.0, 6, 24, 0.37, (15.0, -40.0, 35.0)))
    seen = rasterised_views(mesh, field.batch.camera)
    both = ((seen.mask > 0) & field.mask)[..., 0]
    return (seen.base_color - field.albedo)[both].mean(0).abs().max(), compare(mesh, field)["albedo_psnr"]


@pytest.mark.parametrize("texture", ["image", "vertex"])
def test_mean_colour_is_that_of_the_renders(texture, tmp_path):
    scene, found = foggy(shell_color), {}
    for views in (0, 24):
        settings = SMALL | {"color_views": views, "texture": texture}
        paths = MeshExporter(MeshExporterConfig(**settings)).export(scene, Marcher(), tmp_path).paths
        found[views] = bias(scene, load_glb(paths[0]))
    assert found[0][0] > 0.03
    assert found[24][0] < 0.01
    assert found[24][1] > found[0][1] + 2


def a_mesh_and_views():
    """Six faces and views of them; the vertices have a copy each, as along a seam."""
    corners = torch.tensor([[0.5, 0, 0], [-0.5, 0, 0], [0, 0.5, 0], [0, -0.5, 0], [0, 0, 0.6], [0, 0, -0.4]])
    faces = torch.tensor([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [8, 6, 11], [7, 8, 11], [9, 7, 11], [6, 9, 11]])
    mesh = Mesh(torch.cat([corners, corners]), faces, colors=torch.full((12, 3), 0.5))
    scene = make_scene(soft(sphere(0.5), density=30.0), octant_color)
    return mesh, base_color_views(Marcher(), scene, views_around(1.0, 5, 16, elevations=ELEVATIONS))


def test_offsets_are_those_of_dense_least_squares():
    mesh, views = a_mesh_and_views()
    camera = views.batch.camera
    fragments = rasterize(clip_coordinates(mesh.vertices, camera), mesh.faces, 16, 16)
    rows, right = [], []
    for view, y, x in ((fragments.face >= 0) & views.mask[..., 0]).nonzero().tolist():
        row = np.zeros(6)
        for corner, weight in zip(mesh.faces[fragments.face[view, y, x]], fragments.barycentric[view, y, x], strict=True):
            row[int(corner) % 6] += float(weight)
        rows.append(row)
        right.append((views.albedo[view, y, x] - 0.5).tolist())
    edges = {tuple(sorted((int(a) % 6, int(b) % 6))) for face in mesh.faces for a, b in zip(face, face.roll(-1), strict=True)}
    assert len(edges) == 12
    for a, b in sorted(edges):
        row = np.zeros(6)
        row[a], row[b] = SMOOTHNESS**0.5, -(SMOOTHNESS**0.5)
        rows.append(row)
        right.append([0.0] * 3)
    rows += list(SMALLNESS**0.5 * np.eye(6))
    right += [[0.0] * 3] * 6
    expected = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    offsets = color_offsets(mesh, views).numpy()
    assert np.abs(offsets[:6] - expected).max() < 1e-3 < np.abs(expected).max()
    assert (offsets[:6] == offsets[6:]).all()


def test_without_colour_to_correct_nothing_changes():
    mesh, views = a_mesh_and_views()
    unseen = views.__class__(views.batch, torch.zeros_like(views.opacity), views.albedo)
    assert (color_offsets(mesh, unseen) == 0).all()


def slivers(count: int) -> Mesh:
    """Faces thinner than a texel, many of them over the same texels."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(count, 1, 2, generator=generator) * 0.6
    uv = start + torch.tensor([[0.0, 0.0], [0.3, 0.001], [0.3, 0.0]])
    vertices = torch.rand(3 * count, 3, generator=generator)
    return Mesh(vertices, torch.arange(3 * count).view(-1, 3), uv=uv.reshape(-1, 2).clamp(0, 1))


def test_texels_of_thin_faces_are_of_the_first_face_whatever_the_threads():
    mesh, size = slivers(100), 16
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 2, 2):
            torch.set_num_threads(threads)
            texels = texels_of(mesh, size)
            found.append(torch.cat([texels.corners, texels.weights], -1))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])
    # one face and one point of the plain loop per texel
    texels, owner = texels_of(mesh, size), {}
    covered = {int(face) for face in rasterize_faces(mesh, size).unique() if face >= 0}
    for face, corners in enumerate(mesh.faces.tolist()):
        if face in covered:
            continue
        for i in range(THIN_STEPS + 1):
            for j in range(THIN_STEPS + 1 - i):
                weights = torch.tensor([i, j, THIN_STEPS - i - j]) / THIN_STEPS
                u, v = (weights[:, None] * mesh.uv[corners]).sum(0).tolist()
                texel = (min(int((1 - v) * size), size - 1), min(int(u * size), size - 1))
                owner.setdefault(texel, (corners, weights))
    free = rasterize_faces(mesh, size) < 0
    places = texels.known.nonzero().tolist()
    checked = [(k, place) for k, place in enumerate(map(tuple, places)) if free[place]]
    assert len(checked) > 10
    for k, place in checked:
        assert texels.corners[k].tolist() == owner[place][0]
        assert torch.equal(texels.weights[k], owner[place][1])


def rasterize_faces(mesh: Mesh, size: int) -> torch.Tensor:
    return rasterize_plane(mesh.uv, mesh.faces, size, size).face[0]


def test_the_first_of_equal_numbers_is_taken():
    assert first_of(torch.tensor([2, 0, 2, 1, 0]), 3).tolist() == [1, 3, 0]


def test_exports_with_one_and_two_threads_are_the_same_files(tmp_path):
    scene, sums = foggy(octant_color), set()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            exporter = MeshExporter(MeshExporterConfig(**SMALL | {"formats": ["glb", "ply", "obj"]}))
            with use_threads(threads):
                paths = exporter.export(scene, Marcher(), tmp_path).paths
            sums.add(hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest())
    finally:
        torch.set_num_threads(before)
    assert len(sums) == 1


@pytest.mark.parametrize(("half", "least", "most"), [(0.3, 0, 0), (0.8, 0.2, 0.6)])
def test_a_surface_that_the_ball_cuts_is_reported(half, least, most, tmp_path, heard):
    """The corners of the larger box reach out of the ball."""
    settings = MeshExporterConfig(**SMALL | {"texture": "vertex", "color_views": 0})
    report = MeshExporter(settings).export(make_scene(soft(box(half, 0.4, 0.4)), octant_color), Marcher(), tmp_path).report
    assert least <= report["cut"] <= most
    assert ("has cut it" in str(heard) and "geometry.radius" in str(heard)) is (least > 0)


def test_area_beyond_is_the_share_of_the_faces_outside():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5], [8, 5, 5], [5, 6, 5]])
    assert area_beyond(Mesh(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]])), 2.0) == pytest.approx(0.75)
