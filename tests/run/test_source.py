"""`geometry.init_from`: mesh files with their colours, and one line for what is none."""

from __future__ import annotations

from dataclasses import replace
from math import log10

import pytest
import torch
import trimesh
from trimesh.visual.material import PBRMaterial

from threefusion.asset.single import fitted, read_mesh
from threefusion.config import load_config
from threefusion.errors import ConfigError, UserError
from threefusion.exporter.axes import to_y_up, to_z_up
from threefusion.exporter.writers import write_mesh
from threefusion.geometry.settings import FixedMeshConfig
from threefusion.ops.color import encode_srgb
from threefusion.run.source import starting_scene
from threefusion.system.conversion import base_color
from threefusion.testing.samples import small_ball


def write(path, scale=1.0, shift=0.0):
    """A red ball, y up in GLB and OBJ, z up with the front along -y in PLY."""
    ball = small_ball()
    vertices = ball.vertices * scale + shift
    vertices = to_z_up(vertices) if path.suffix == ".ply" else to_y_up(vertices)
    colors = torch.tensor([255, 0, 0, 255]).expand(len(vertices), 4).numpy()
    trimesh.Trimesh(vertices.numpy(), ball.faces.numpy(), vertex_colors=colors, process=False).export(path)
    return path


def scene(tiny, path):
    config = load_config(tiny, [])
    return starting_scene(replace(config, geometry=FixedMeshConfig(init_from=str(path)))).scene


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_a_file_becomes_a_scene_with_its_shape_and_colors(tiny, tmp_path, suffix):
    before = scene(tiny, write(tmp_path / f"ball{suffix}"))
    mesh = before.geometry.mesh()
    assert torch.allclose(mesh.vertices, small_ball().vertices, atol=1e-5)
    error = (base_color(before, mesh.vertices) - torch.tensor([1.0, 0, 0])).square().mean()
    assert -10 * log10(float(error)) > 40


@pytest.mark.parametrize("factor", [None, [255, 128, 0, 255]])
@pytest.mark.parametrize("colored", [False, True])
def test_colors_of_a_material_without_texture_and_of_vertices_multiply(tmp_path, factor, colored):
    ball = small_ball()
    surface = trimesh.Trimesh(ball.vertices.numpy(), ball.faces.numpy(), process=False)
    surface.visual = trimesh.visual.TextureVisuals(material=PBRMaterial(baseColorFactor=factor))
    half = torch.full((len(ball.vertices), 3), 0.5)
    if colored:
        surface.vertex_attributes["_COLOR_0"] = half.numpy()
    plain = surface.export(file_type="glb")
    # trimesh writes attributes of its own under an underscore; both names are filled up to a multiple of four bytes
    (tmp_path / "ball.glb").write_bytes(plain.replace(b'"_COLOR_0"', b' "COLOR_0"'))
    linear = torch.ones(3) if factor is None else torch.tensor(factor[:3]) / 255
    expected = encode_srgb(linear * half[0] if colored else linear)
    mesh = read_mesh(tmp_path / "ball.glb")
    assert torch.allclose(mesh.colors, expected.expand(len(ball.vertices), 3), atol=0.01)


def test_a_mesh_exported_with_vertex_colors_is_read(tmp_path):
    ball = small_ball()
    colors = 0.5 + ball.vertices / 2
    write_mesh(replace(ball, normals=ball.vertices, colors=colors), tmp_path, ["glb", "obj", "ply"])
    for path in sorted(tmp_path.glob("model.*")):
        mesh = read_mesh(path)
        order = torch.cdist(mesh.vertices, ball.vertices).argmin(1)
        assert torch.allclose(mesh.colors, colors[order], atol=0.01), path


def test_a_foreign_mesh_is_fitted_into_the_ball(tmp_path):
    for scale, shift in ((100.0, 7.0), (0.001, 0.0), (1.0, 3.0)):
        mesh, factor = fitted(read_mesh(write(tmp_path / "far.ply", scale, shift)), radius=2.0)
        assert factor * scale == pytest.approx(3.0, rel=0.05)
        assert mesh.vertices.norm(dim=-1).max().item() == pytest.approx(1.5, rel=1e-4)
        assert mesh.vertices.mean(0).abs().max() < 0.02


@pytest.mark.parametrize("content", [b"", b"not a mesh", b"glTF\2\0\0\0\xff\0\0\0", b"v 0 0 0\nv 1 0 0\n"])
@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_a_damaged_file_and_one_without_faces_are_refused(tiny, tmp_path, content, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"geometry\.init_from: .*bad\."):
        scene(tiny, path)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_a_closed_mesh_that_is_inside_out_is_turned_outward(tmp_path, suffix):
    good, turned = trimesh.creation.icosphere(1), trimesh.creation.icosphere(1)
    turned.invert()
    for name, ball in (("good", good), ("turned", turned)):
        ball.export(tmp_path / f"{name}{suffix}")
        assert signed_volume(read_mesh(tmp_path / f"{name}{suffix}")) > 0


def test_an_open_mesh_keeps_its_winding(tmp_path):
    vertices, faces = [[0, 0, 0.5], [1, 0, 0.5], [0, 1, 0.5]], [[0, 2, 1]]
    trimesh.Trimesh(vertices, faces, process=False).export(tmp_path / "open.ply")
    assert read_mesh(tmp_path / "open.ply").faces.tolist() == faces


def test_a_mesh_without_area_is_refused(tmp_path):
    trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False).export(tmp_path / "line.ply")
    with pytest.raises(UserError, match=r"line\.ply: none of its triangles has an area"):
        read_mesh(tmp_path / "line.ply")


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_mesh_of_any_size_has_an_area(tmp_path, scale):
    assert len(read_mesh(write(tmp_path / "ball.ply", scale)).faces)


def signed_volume(mesh):
    """Positive if the faces of a closed mesh look outward."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float((a * b.cross(c, dim=-1)).sum() / 6)


def test_a_config_names_the_line_of_a_missing_source(tiny, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for name, problem in (("none.glb", "does not exist"), ("folder", "is no run folder"), ("notes.txt", "is no mesh")):
        config = tmp_path / "mine.yaml"
        config.write_text(f"extends: {tiny}\ngeometry:\n  type: fixed-mesh\n  init_from: {tmp_path / name}\n")
        with pytest.raises(ConfigError) as error:
            load_config(config, [])
        assert any(f"mine.yaml:4: geometry.init_from: {tmp_path / name} {problem}" in str(one) for one in error.value.all)
