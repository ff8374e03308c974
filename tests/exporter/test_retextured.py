"""The exporter of retextured mesh files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import trimesh
from gltf_files import GltfFile, picture, quad
from torch import nn

from threefusion.asset.read import read_asset
from threefusion.asset.source import pack
from threefusion.config import Settings
from threefusion.exporter.preview import load_exported
from threefusion.exporter.settings import RetexturedExporterConfig
from threefusion.messages import Noted
from threefusion.registry import build
from threefusion.testing import small_scene
from threefusion.types import Scene

RED = torch.tensor([1.0, 0, 0]).expand(4, 4, 3)


@dataclass(frozen=True)
class PaintedConfig(Settings):
    mesh: str
    radius: float = 1.0


class Painted(nn.Module):
    """A textured mesh that is red all over."""

    def __init__(self, path, radius=1.0):
        super().__init__()
        self.radius, self.cfg = radius, PaintedConfig(str(path), radius)
        self.register_buffer("source", torch.frombuffer(bytearray(pack(path)), dtype=torch.uint8))
        self.asset = read_asset(path, radius)

    def textures(self, material):
        return {index: {"base_color": RED} for index in range(len(self.asset.materials))}

    def coordinates(self):
        bare = {part.primitive: part.mesh for part in self.asset.parts if part.mesh.uv is None}
        return {primitive: torch.rand(len(mesh.faces), 3, 2) for primitive, mesh in bare.items()}


def export(path, folder):
    scene = Scene(Painted(path), None, nn.Module())
    return run_exporter(scene, folder), scene


def chair(folder):
    """A .gltf with a buffer and a picture beside it."""
    file = GltfFile(images=[{"uri": "maps/wood.png"}], textures=[{"source": 0}])
    file.add("materials", {"name": "wood", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
    file.mesh(quad(file, material=0))
    (folder / "maps").mkdir(parents=True)
    (folder / "maps" / "wood.png").write_bytes(picture(np.zeros((2, 2, 3))))
    return file.gltf(folder / "chair.gltf", "chair.bin")


def test_the_files_have_their_own_names_and_the_new_texture(tmp_path):
    path = chair(tmp_path / "own")
    exported, scene = export(path, tmp_path / "mesh")
    assert [made.relative_to(tmp_path / "mesh").as_posix() for made in exported.paths] == [
        "chair.gltf",
        "chair.bin",
        "maps/wood-2.png",
    ]
    assert torch.equal(read_asset(exported.paths[0], 1.0).materials[0].textures["base_color"], RED)
    assert exported.report["materials"] == ["wood"]
    # the surface for scores is in scene units
    mesh = exported.mesh
    assert torch.equal(mesh.vertices, scene.geometry.asset.parts[0].mesh.vertices)
    assert torch.equal(mesh.textures["base_color"], RED)
    assert torch.equal(load_exported(exported.paths[0], scene.geometry.cfg).vertices, mesh.vertices)


@pytest.mark.parametrize("change", ["moved", "changed"])
def test_an_export_needs_no_original_and_notices_another(tmp_path, heard, change):
    path = chair(tmp_path / "own")
    scene = Scene(Painted(path), None, nn.Module())
    (first,) = {tuple(p.read_bytes() for p in build_and_export(scene, tmp_path / "first"))}
    if change == "moved":
        path.parent.rename(tmp_path / "elsewhere")
    else:
        path.write_text(path.read_text() + "\n")
    heard.clear()
    again = tuple(p.read_bytes() for p in build_and_export(scene, tmp_path / "again"))
    assert again == first
    noted = [message.text for message in heard if isinstance(message, Noted)]
    assert noted == ([] if change == "moved" else [f"{path} has changed since the run began; the run's own copy is used"])


def build_and_export(scene, folder):
    return run_exporter(scene, folder).paths


def run_exporter(scene, folder):
    return build(RetexturedExporterConfig()).export(scene, small_scene()[1], folder)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj"])
def test_a_file_without_coordinates_becomes_a_glb_of_the_same_size(tmp_path, suffix):
    box = trimesh.creation.box((1, 2, 3))
    box.apply_translation((5, 0, 0))
    box.visual = trimesh.visual.ColorVisuals(box)
    box.export(tmp_path / f"box{suffix}")
    exported, scene = export(tmp_path / f"box{suffix}", tmp_path / "mesh")
    assert [path.name for path in exported.paths] == ["box.glb"]
    loaded = trimesh.load(exported.paths[0], force="mesh", process=False)
    # +y is up in a GLB, +z in PLY and STL
    assert sorted(loaded.extents) == pytest.approx([1, 2, 3])
    assert loaded.bounds.mean(0) == pytest.approx([5, 0, 0])
    before = scene.geometry.asset.parts[0].mesh
    assert torch.equal(exported.mesh.vertices[exported.mesh.faces], before.vertices[before.faces])


def test_an_obj_keeps_its_text_and_gets_another_picture(tmp_path):
    text = "# mine\nmtllib box.mtl\no box\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl wood\nf 1/1 2/2 3/3\n"
    (tmp_path / "box.obj").write_text(text)
    (tmp_path / "box.mtl").write_text("newmtl wood\nKd 0.5 0.5 0.5\nNs 10\nmap_Kd old.png\nnewmtl other\nKd 0 1 0\n")
    (tmp_path / "old.png").write_bytes(picture(np.zeros((2, 2, 3))))
    exported, _ = export(tmp_path / "box.obj", tmp_path / "mesh")
    assert (tmp_path / "mesh" / "box.obj").read_text() == text
    library = (tmp_path / "mesh" / "box.mtl").read_text().splitlines()
    assert library[0] == "newmtl wood"
    assert {"Kd 1 1 1", "Ns 10", "newmtl other", "Kd 0 1 0"} <= set(library)
    assert "map_Kd old.png" not in library
    material = read_asset(exported.paths[0], 1.0).materials[0]
    assert torch.equal(material.textures["base_color"], RED)
    assert material.base_color == (1.0, 1.0, 1.0, 1.0)
