"""A mesh file and what it refers to, kept in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from gltf_files import GltfFile, picture, quad

from threefusion.asset.source import is_changed, pack, unpacked
from threefusion.errors import UserError


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_gltf_is_kept_with_its_buffer_and_its_picture(tmp_path):
    file = GltfFile(images=[{"uri": "my%20pictures/a.png"}])
    file.mesh(quad(file))
    (tmp_path / "my pictures").mkdir()
    (tmp_path / "my pictures" / "a.png").write_bytes(picture(np.zeros((2, 2, 3))))
    path = file.gltf(tmp_path / "quad.gltf", "quad data.bin")
    before = files_in(tmp_path)
    (tmp_path / "other.txt").write_text("not of the mesh")
    packed = pack(path)
    assert packed == pack(path)
    with unpacked(packed) as copy:
        assert copy.name == "quad.gltf"
        assert files_in(copy.parent) == before
    assert not copy.exists()
    assert not is_changed(packed, path)
    path.write_text(path.read_text() + " ")
    assert is_changed(packed, path)
    path.unlink()
    assert not is_changed(packed, path)


def test_an_obj_is_kept_with_its_materials_and_their_pictures(tmp_path):
    (tmp_path / "a.obj").write_text("mtllib a b.mtl\nv 0 0 0\n")
    (tmp_path / "a b.mtl").write_text("newmtl m\nmap_Kd -s 1 1 1 a.png\nmap_d ..\\secret.png\nmap_Ks lost.png\n")
    (tmp_path / "a.png").write_bytes(picture(np.zeros((2, 2, 3))))
    with unpacked(pack(tmp_path / "a.obj")) as copy:
        assert files_in(copy.parent) == files_in(tmp_path)


def test_a_damaged_archive_is_refused():
    with pytest.raises(UserError, match="the mesh file in the checkpoint is damaged"), unpacked(b"PK"):
        pass
