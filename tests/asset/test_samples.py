"""Files that other programs made: each is read, or refused by name; one gets other textures.

Set THREEFUSION_GLTF_SAMPLES to a folder with .glb files; those of the Khronos sample models and of glTF-Transform are known here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from threefusion.asset.container import open_container
from threefusion.asset.read import read_asset
from threefusion.asset.write import retextured
from threefusion.errors import UserError

FOLDER = Path(os.environ.get("THREEFUSION_GLTF_SAMPLES", "none"))
FILES = sorted(FOLDER.glob("*.glb"))

pytestmark = pytest.mark.skipif(not FILES, reason="needs THREEFUSION_GLTF_SAMPLES, a folder with .glb files")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sample_is_read_like_another_reader_does_or_refused_by_name(path):
    needs = open_container_tree(path).get("extensionsRequired", [])
    if any("compression" in name for name in needs):
        with pytest.raises(UserError, match=rf"{path.name}: needs \w+_compression, .* gltf-transform copy {path.name} "):
            read_asset(path, 1.0)
        return
    asset = read_asset(path, 1.0)
    ours = [asset.placement.to_file(part.mesh.vertices)[part.mesh.faces] for part in asset.parts]
    scene = trimesh.load(path, process=False)
    theirs = trimesh.util.concatenate(scene.dump()).triangles
    assert len(theirs) == sum(map(len, ours))
    off = cKDTree(torch.cat(ours).mean(1).numpy()).query(theirs.mean(1))[0]
    assert off.max() < 1e-6 / asset.placement.scale
    assert max(float(part.mesh.vertices.norm(dim=-1).max()) for part in asset.parts) == pytest.approx(0.75, abs=1e-5)


def open_container_tree(path):
    """The JSON of a GLB, whatever it needs."""
    import json

    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def truck():
    path = FOLDER / "CesiumMilkTruck.glb"
    return path if path.is_file() else pytest.skip("needs CesiumMilkTruck.glb")


def test_the_painted_truck_keeps_all_but_its_pictures(tmp_path):
    path = truck()
    asset = read_asset(path, 1.0)
    named = {material.name: index for index, material in enumerate(asset.materials)}
    red = torch.tensor([1.0, 0, 0]).expand(64, 64, 3)
    # the windows have no texture coordinates
    glass = next(part for part in asset.parts if part.material == named["glass"])
    uv = torch.rand(len(glass.mesh.faces), 3, 2, generator=torch.Generator().manual_seed(0))
    textures = {named["truck"]: {"base_color": red}, named["glass"]: {"base_color": red * 0.5}}
    made = retextured(asset, textures, {glass.primitive: uv})
    (tmp_path / path.name).write_bytes(made[path.name])
    before, after = open_container(path), open_container(tmp_path / path.name)
    for key in ("nodes", "animations", "scenes", "scene", "samplers", "asset"):
        assert after.tree.get(key) == before.tree.get(key), key
    assert after.tree["meshes"][1] == before.tree["meshes"][1]
    count = len(before.entries("accessors"))
    assert after.entries("accessors")[:count] == before.entries("accessors")
    # the wheels share the truck's picture, which therefore stays
    for index in range(len(before.entries("bufferViews"))):
        assert bytes(after.view(index)) == bytes(before.view(index))
    again = read_asset(tmp_path / path.name, 1.0)
    for old, new in zip(asset.parts, again.parts, strict=True):
        assert torch.equal(new.mesh.vertices[new.mesh.faces], old.mesh.vertices[old.mesh.faces])
    painted = {material.name: material for material in again.materials}
    wheels = asset.materials[named["wheels"]].textures["base_color"]
    assert torch.equal(painted["truck"].textures["base_color"], red)
    assert torch.equal(painted["wheels"].textures["base_color"], wheels)
    assert torch.equal(painted["glass"].textures["base_color"], decoded(red * 0.5))
    mesh = next(part.mesh for part in again.parts if part.primitive == glass.primitive)
    assert torch.equal(mesh.uv[mesh.faces], uv)


def decoded(color):
    """Colours as bytes hold them."""
    return (color * 255).round() / 255


def test_both_materials_of_the_truck_repainted_leave_no_old_picture(tmp_path):
    path = truck()
    asset = read_asset(path, 1.0)
    named = {material.name: index for index, material in enumerate(asset.materials)}
    colors = {named["truck"]: torch.rand(32, 32, 3), named["wheels"]: torch.rand(16, 16, 3)}
    (tmp_path / path.name).write_bytes(retextured(asset, {i: {"base_color": c} for i, c in colors.items()}, {})[path.name])
    before, after = open_container(path), open_container(tmp_path / path.name)
    picture = before.entry("images", 0)["bufferView"]
    for index in range(len(before.entries("bufferViews"))):
        assert (bytes(after.view(index)) == bytes(before.view(index))) == (index != picture)
    assert (tmp_path / path.name).stat().st_size < path.stat().st_size
    again = read_asset(tmp_path / path.name, 1.0)
    for index, color in colors.items():
        assert torch.equal(again.materials[index].textures["base_color"], decoded(color))
