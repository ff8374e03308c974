"""Every format loads back as what was written, in the axes its readers expect."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from test_topology import CUBE, ball
from test_uv import with_normals

from threefusion.exporter.preview import load_glb
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import ENCODERS, to_y_up, to_z_up, write_mesh

CHECKER = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(256)[..., None].expand(64, 64, 3) / 255


def textured(mesh):
    unwrapped = unwrap(with_normals(mesh), 64)
    return replace(unwrapped, textures={"base_color": CHECKER}, colors=unwrapped.vertices.clamp(0, 1))


def write(name: str, folder: Path, mesh=None) -> list[Path]:
    mesh = textured(ball(16)) if mesh is None else mesh
    return write_mesh(replace(mesh, colors=mesh.vertices * 0.5 + 0.5), folder, [name])


def test_front_becomes_plus_z_and_up_plus_y():
    front, left, up = torch.eye(3)
    assert to_y_up(torch.stack([front, left, up])).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_z_up(to_y_up(points)), points)
    # a rotation, not a mirror: the winding survives
    assert torch.linalg.det(to_y_up(torch.eye(3))) == pytest.approx(1)


@pytest.mark.parametrize("name", ["glb", "obj"])
def test_viewer_formats_are_y_up(name, tmp_path):
    mesh = textured(replace(CUBE, vertices=CUBE.vertices * torch.tensor([3.0, 1.0, 2.0])))
    loaded = trimesh.load(write(name, tmp_path, mesh)[0], force="mesh", process=False)
    assert loaded.extents.tolist() == pytest.approx([1, 2, 3])
    assert loaded.volume == pytest.approx(6)


@pytest.mark.parametrize("name", ["ply", "stl"])
def test_print_formats_keep_the_axes_and_are_welded(name, tmp_path):
    mesh = textured(replace(CUBE, vertices=CUBE.vertices * torch.tensor([3.0, 1.0, 2.0])))
    loaded = trimesh.load(write(name, tmp_path, mesh)[0], force="mesh")
    assert loaded.extents.tolist() == pytest.approx([3, 1, 2])
    assert loaded.is_watertight
    assert len(loaded.vertices) == 8
    assert loaded.volume == pytest.approx(6)


def test_glb_holds_the_very_mesh(tmp_path):
    mesh = textured(ball(16))
    loaded = load_glb(write("glb", tmp_path, mesh)[0])
    assert torch.equal(loaded.vertices, mesh.vertices)
    assert torch.equal(loaded.faces, mesh.faces)
    assert torch.allclose(loaded.uv, mesh.uv, atol=1e-6)
    assert torch.allclose(loaded.normals, mesh.normals, atol=1e-5)
    assert torch.equal(loaded.textures["base_color"], CHECKER)


def test_obj_comes_with_material_and_picture(tmp_path):
    mesh = textured(ball(16))
    paths = write("obj", tmp_path, mesh)
    assert {path.name for path in paths} == {"model.obj", "model.mtl", "model.png"}
    assert paths[0].name == "model.obj"
    library = Path(tmp_path, "model.mtl").read_text()
    assert "map_Kd model.png" in library
    assert "Kd 1.0" in library
    assert (
        np.asarray(Image.open(tmp_path / "model.png").convert("RGB"))[:, :, 0] == CHECKER[..., 0].mul(255).round().numpy()
    ).all()
    loaded = trimesh.load(paths[0], process=False, force="mesh")
    corners = np.asarray(loaded.vertices)[loaded.faces]
    assert corners == pytest.approx(to_y_up(mesh.vertices)[mesh.faces].numpy(), abs=1e-6)
    assert np.asarray(loaded.visual.uv)[loaded.faces] == pytest.approx(mesh.uv[mesh.faces].numpy(), abs=1e-6)


def test_ply_vertices_keep_their_colours(tmp_path):
    loaded = trimesh.load(write("ply", tmp_path)[0], process=False)
    expected = (np.asarray(loaded.vertices) * 0.5 + 0.5) * 255
    assert loaded.visual.vertex_colors[:, :3] == pytest.approx(expected, abs=0.51)


def test_a_failure_leaves_the_old_files_and_no_rest(tmp_path, monkeypatch):
    mesh, other = textured(ball(16)), textured(CUBE)
    paths = write_mesh(mesh, tmp_path, list(ENCODERS))
    before = {path: path.read_bytes() for path in paths}
    assert len(before) == 6

    def broken(*_):
        raise OSError("no space left on device")

    for where, name in ((os, "replace"), (Path, "write_bytes")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
            patch.setattr(where, name, broken)
            write_mesh(other, tmp_path, list(ENCODERS))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_format_that_fails_keeps_the_others_from_appearing(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError

    monkeypatch.setitem(ENCODERS, "stl", broken)
    mesh = textured(CUBE)
    with pytest.raises(RuntimeError):
        write_mesh(mesh, tmp_path, ["glb", "stl"])
    assert list(tmp_path.iterdir()) == []
