"""Tangent frames, and normal maps that show the detail that decimation has removed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from analytic_scenes import AnalyticMaterial, Magenta, octant_color, sphere
from test_distance_export import AnalyticDistance, DistanceMarcher
from test_mesh_exporter import SMALL
from test_topology import ball
from test_uv import with_normals
from torch.nn.functional import grid_sample, normalize

from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.normal_map import decode, encode, frames, surface_normals, vertex_tangents
from threefusion.exporter.preview import load_glb
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.uv import unwrap
from threefusion.types import Mesh, Scene


def square(mirror: bool = False) -> Mesh:
    """A square in the xy plane seen from +z, with u along x and v along y; or u along -x."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    uv = vertices[:, :2].clone()
    if mirror:
        uv[:, 0] = 1 - uv[:, 0]
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([0.0, 0, 1]).expand(4, 3), uv)


@pytest.mark.parametrize(("mirror", "expected"), [(False, [1, 0, 0, 1]), (True, [-1, 0, 0, -1])])
def test_tangents_point_along_u_and_w_is_the_handedness(mirror, expected):
    mesh = square(mirror)
    tangents = vertex_tangents(mesh)
    assert torch.allclose(tangents, torch.tensor(expected).float().expand(4, 4))
    ahead, up = frames(mesh.normals, tangents).unbind(-1)[1:]
    # the bitangent points along v, up in the image, either way
    assert torch.allclose(ahead, torch.tensor([0.0, 1, 0]).expand(4, 3)) and torch.allclose(up, mesh.normals)


def test_green_is_up_and_red_is_right():
    mesh = square()
    frame = frames(mesh.normals, vertex_tangents(mesh))
    tilted = normalize(torch.tensor([[1.0, 0, 1], [0, 1, 1], [-1, 0, 1], [0, 0, 1]]), dim=-1)
    red, green, blue = encode(tilted, frame).unbind(-1)
    high, low = 0.5 + 0.5 * 0.5**0.5, 0.5 - 0.5 * 0.5**0.5
    assert torch.allclose(red, torch.tensor([high, 0.5, low, 0.5]))
    assert torch.allclose(green, torch.tensor([0.5, high, 0.5, 0.5]))
    assert torch.allclose(blue, torch.tensor([high, high, high, 1.0]))


def test_decoding_gives_back_what_was_encoded_also_in_skewed_frames():
    generator = torch.Generator().manual_seed(0)
    normal = normalize(torch.randn(50, 3, generator=generator), dim=-1)
    level = torch.linalg.cross(normal, torch.randn(50, 3, generator=generator))
    tangent = torch.cat([normalize(level, dim=-1) + 0.2 * normal, torch.ones(50, 1)], -1)
    tangent[25:, 3] = -1
    shading = normalize(normal + 0.5 * normalize(torch.randn(50, 3, generator=generator), dim=-1), dim=-1)
    frame = frames(normal, tangent)
    assert torch.allclose(decode(encode(shading, frame), frame), shading, atol=1e-4)


def test_tangents_of_an_unwrapped_ball_are_unit_and_at_right_angles():
    mesh = unwrap(with_normals(ball(24)), 256)
    tangents = vertex_tangents(mesh)
    assert torch.allclose(tangents[:, :3].norm(dim=-1), torch.ones(len(tangents)), atol=1e-5)
    assert (tangents[:, :3] * mesh.normals).sum(-1).abs().max() < 1e-5
    assert (tangents[:, 3] == 1).all()  # no chart of uvunwrap is mirrored


def test_normals_of_the_other_side_of_a_thin_sheet_do_not_count():
    top = Mesh(torch.tensor([[0.0, 0, 0.01]]), torch.zeros(0, 3, dtype=torch.int64), torch.tensor([[0.0, 0, 1]]))
    surface = replace(top, vertices=torch.tensor([[0, 0, 0.01], [0, 0, -0.01]]), normals=torch.tensor([[0.0, 0, 1], [0, 0, -1]]))
    points = torch.tensor([[0.0, 0, -0.009]])
    up = torch.tensor([[0.0, 0, 1]])
    assert torch.equal(surface_normals(surface, points, up), up)
    assert torch.equal(surface_normals(surface, points, -up), -up)


def ripples(points):
    """A ball with 24 meridional and some parallel ripples, too fine for few faces."""
    azimuth, height = torch.atan2(points[:, 1:2], points[:, :1]), points[:, 2:]
    return sphere(0.6)(points) + 0.008 * torch.sin(12 * azimuth) + 0.008 * torch.sin(40 * height)


def true_normals(points):
    with torch.enable_grad():
        points = points.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(ripples(points).sum(), points)
    return normalize(gradient, dim=-1)


def export(folder, **settings):
    scene = Scene(AnalyticDistance(ripples), AnalyticMaterial(octant_color), Magenta())
    few = {"resolution": 128, "max_faces": 1200, "texture_size": 512, "smoothing": 0}
    return MeshExporter(MeshExporterConfig(**SMALL | few | settings)).export(scene, DistanceMarcher(), folder)


def angles(one, other):
    return torch.rad2deg(torch.acos((one * other).sum(-1).clamp(-1, 1)))


def test_a_decimated_mesh_with_its_map_has_the_normals_of_the_fine_one(tmp_path):
    """Seen at random points of the faces as a shader does: frames and map from the file, bilinear, in bytes."""
    mesh = load_glb(export(tmp_path, normal_map=True).paths[0])
    tangents = vertex_tangents(mesh)
    weights = torch.distributions.Dirichlet(torch.ones(3)).sample((len(mesh.faces),))[..., None]

    def at(values):
        return (weights * values[mesh.faces]).sum(1)

    uv, points, normal = at(mesh.uv), at(mesh.vertices), normalize(at(mesh.normals), dim=-1)
    position = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    color = grid_sample(mesh.textures["normal"].permute(2, 0, 1)[None], position, align_corners=False)[0, :, 0].T
    shaded = decode(color, frames(at(mesh.normals), at(tangents)))
    # the nearest point of the ripples, not the point of the flat face
    truth = true_normals(points - ripples(points) * true_normals(points))
    with_map, without = angles(shaded, truth), angles(normal, truth)
    assert without.mean() > 10
    assert with_map.mean() < 0.35 * without.mean()
    assert with_map.median() < 3


def test_a_file_without_a_map_has_no_tangents_and_one_with_it_has(tmp_path):
    plain, mapped = export(tmp_path / "a"), export(tmp_path / "b", normal_map=True)
    assert set(plain.mesh.textures) == {"base_color"} and set(mapped.mesh.textures) == {"base_color", "normal"}
    assert b"TANGENT" not in plain.paths[0].read_bytes() and b'"TANGENT"' in mapped.paths[0].read_bytes()
    material = next(iter(trimesh.load(mapped.paths[0], process=False).geometry.values())).visual.material
    assert np.asarray(material.normalTexture).shape == (512, 512, 3)
    assert np.asarray(material.normalTexture)[..., 2].mean() > 200  # mostly along the surface
