"""Damaged files and such that need what is not decoded: one line each, whatever is wrong with them."""

from __future__ import annotations

import copy
import random
import struct

import numpy as np
import pytest
import trimesh
from gltf_files import QUAD, GltfFile, picture, quad

from threefusion.asset.read import read_asset
from threefusion.asset.single import read_mesh
from threefusion.errors import UserError


def full():
    """A file with something of everything."""
    file = GltfFile(samplers=[{"wrapS": 33071}], scene=0, scenes=[{"nodes": [0, 2]}])
    texture = file.image(picture(np.zeros((2, 2, 3))), sampler=0)
    info = {"index": texture, "extensions": {"KHR_texture_transform": {"scale": [2, 2]}}}
    file.add("materials", {"name": "m", "pbrMetallicRoughness": {"baseColorTexture": info, "baseColorFactor": [1, 1, 1, 1]}})
    primitive = quad(file, material=0, targets=[{"POSITION": file.positions(QUAD)}])
    primitive["attributes"]["JOINTS_0"] = file.array([[0, 0, 0, 0]] * 4, "u1")
    primitive["attributes"]["WEIGHTS_0"] = file.array([[1, 0, 0, 0]] * 4)
    file.mesh(primitive, weights=[0.5], skin=0, children=[1])
    file.mesh(quad(file, None), scale=[-1, 1, 1], rotation=[0, 0, 0, 1])
    sparse = {"count": 1, "indices": {"bufferView": file.view(b"\0"), "componentType": 5121}}
    sparse["values"] = {"bufferView": file.view(struct.pack("<3f", 1, 0, 0))}
    position = file.add("accessors", {"componentType": 5126, "type": "VEC3", "count": 4, "sparse": sparse})
    file.mesh({"attributes": {"POSITION": position}, "indices": file.array([0, 1, 2], "u1")}, matrix=np.eye(4).flatten().tolist())
    file.add("skins", {"joints": [1], "inverseBindMatrices": file.array(np.eye(4).reshape(1, 16))})
    return file


def set_in(tree, path, value):
    for key in path[:-1]:
        tree = tree[key]
    if value is None:
        del tree[path[-1]]
    else:
        tree[path[-1]] = value


FAULTS = {
    ("nodes", 1, "children"): ([0], "node 0 is a child of two nodes, or of itself"),
    ("nodes", 0, "mesh"): (-1, "refers to meshes -1, and has 3"),
    ("nodes", 2, "matrix"): ([1e300] * 16, "not finite"),
    ("accessors", 0, "bufferView"): (None, "accessor 0 has no data"),
    ("accessors", 0, "count"): (10**12, r"accessor 0 has 1000000000000 rows; expected at most"),
    ("bufferViews", 1, "byteOffset"): (10**6, "buffer view 1 ends at byte"),
    ("bufferViews", 1, "byteLength"): (12, "rows of 12 bytes do not fit into buffer view 1"),
    ("bufferViews", 0, "byteLength"): (20, "image 0 cannot be read as PNG, JPEG or WebP"),
    ("images", 0): ({"uri": "../secret.png"}, r"refers to '../secret\.png'; expected a file in its own folder"),
    ("images", 0, "uri"): ("data:image/png;base64,xyz", "a data URI cannot be decoded"),
    ("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "index"): (7, "refers to textures 7, and has 1"),
    ("meshes", 0, "primitives"): ([3], r"damaged \(AttributeError"),
    ("meshes", 0, "primitives", 0, "mode"): (9, "a primitive of mode 9"),
    ("skins", 0, "joints"): ([[0]], r"damaged \(TypeError"),
    ("asset", "version"): ("1.0", "glTF of version 1.0; expected 2.0"),
}


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: ".".join(map(str, path)))
def test_a_fault_is_named_in_one_line(tmp_path, path):
    file, (value, message) = full(), FAULTS[path]
    if path[-1] == "uri":
        del file.tree["images"][0]["bufferView"]
    set_in(file.tree, path, value)
    with pytest.raises(UserError, match=message) as error:
        read_asset(file.glb(tmp_path / "bad.glb"), 1.0)
    assert str(error.value).startswith(f"{tmp_path / 'bad.glb'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:10], "it ends within its header"),
        (lambda data: data[:-8], r"it has \d+ bytes of \d+"),
        (lambda data: data.replace(b'"version"', b'"verslon"'), "glTF of version None"),
        (lambda data: data[:12] + struct.pack("<I", 2**31) + data[16:], "a chunk ends behind the file"),
        (lambda data: data.replace(b'"count": 4,', b'"count":NaN'), "its JSON cannot be read"),
        (lambda data: b"[" * 100000, "no glTF file"),
        (lambda data: b"{}", "it has no entry `asset`"),
    ],
)
def test_a_broken_container_is_named_in_one_line(tmp_path, change, message):
    path = full().glb(tmp_path / "bad.glb")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_asset(path, 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e35])
def test_vertices_that_are_not_finite_are_refused(tmp_path, value):
    file = GltfFile()
    file.mesh({"attributes": {"POSITION": file.array([[0, 0, 0], [1, 0, 0], [0, value, 0]])}})
    with pytest.raises(UserError, match="not finite"):
        read_asset(file.glb(tmp_path / "bad.glb"), 1.0)


VALUES = [None, -1, 0, 1, 7, 2**63, 10**400, -0.5, 1e308, "", "x", "data:,", [], {}, [[]], [0], {"index": 0}, True, "VEC3", 5126]


def paths_of(tree, path=()):
    yield path
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from paths_of(value, (*path, key))


@pytest.mark.parametrize("seed", range(4))
def test_any_entry_can_be_of_any_kind(tmp_path, seed):
    draw, whole = random.Random(seed), full()
    read_asset(whole.glb(tmp_path / "bad.glb"), 1.0)
    for _ in range(30):
        file = copy.deepcopy(whole)
        path = draw.choice([path for path in paths_of(file.tree) if len(path) > 1])
        set_in(file.tree, path, draw.choice(VALUES))
        try:
            read_asset(file.glb(tmp_path / "bad.glb"), 1.0)
        except UserError as error:
            assert "\n" not in str(error)


NEEDS = {
    "KHR_draco_mesh_compression": r"gltf-transform copy chair\.glb chair-1\.glb \(npm install --global @gltf-transform/cli\)",
    "EXT_meshopt_compression": r"gltf-transform copy chair\.glb chair-1\.glb",
    "KHR_texture_basisu": r"gltf-transform ktxdecompress chair\.glb chair-1\.glb",
    "VENDOR_magic": "Export it again without",
}


@pytest.mark.parametrize("read", [read_mesh, lambda path: read_asset(path, 1.0)], ids=["a scene to start from", "an asset"])
@pytest.mark.parametrize("name", NEEDS)
def test_a_required_extension_is_refused_by_name_with_the_command_that_converts(tmp_path, name, read):
    file = GltfFile(extensionsUsed=[name, "KHR_mesh_quantization"], extensionsRequired=[name, "KHR_mesh_quantization"])
    file.mesh(quad(file))
    with pytest.raises(UserError, match=rf"chair\.glb: needs {name}, which cannot be read\. .*{NEEDS[name]}"):
        read(file.glb(tmp_path / "chair.glb"))


def test_two_required_extensions_need_two_commands(tmp_path):
    names = ["KHR_texture_basisu", "KHR_draco_mesh_compression"]
    file = GltfFile(extensionsUsed=names, extensionsRequired=names)
    file.mesh(quad(file))
    with pytest.raises(
        UserError, match=r"copy chair\.glb chair-1\.glb && gltf-transform ktxdecompress chair-1\.glb chair-2\.glb"
    ):
        read_asset(file.glb(tmp_path / "chair.glb"), 1.0)


def test_compression_with_plain_arrays_beside_it_is_read(tmp_path):
    file = GltfFile(extensionsUsed=["KHR_draco_mesh_compression"])
    primitive = quad(file) | {"extensions": {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}}}
    file.mesh(primitive)
    assert len(read_asset(file.glb(tmp_path / "a.glb"), 1.0).parts) == 1
    del file.tree["accessors"][primitive["attributes"]["POSITION"]]["bufferView"]
    with pytest.raises(UserError, match="needs KHR_draco_mesh_compression"):
        read_asset(file.glb(tmp_path / "a.glb"), 1.0)


def test_specular_glossiness_is_refused_by_name(tmp_path):
    name = "KHR_materials_pbrSpecularGlossiness"
    file = GltfFile(extensionsUsed=[name], materials=[{"extensions": {name: {}}}])
    file.mesh(quad(file, material=0))
    with pytest.raises(UserError, match=rf"needs {name}.*gltf-transform metalrough a\.glb"):
        read_asset(file.glb(tmp_path / "a.glb"), 1.0)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj"])
def test_other_formats_are_refused_in_one_line_too(tmp_path, suffix):
    trimesh.creation.box().export(tmp_path / f"a{suffix}")
    data, draw = (tmp_path / f"a{suffix}").read_bytes(), random.Random(0)
    for _ in range(20):
        broken = bytearray(data[: draw.randrange(len(data))])
        for _ in range(3):
            broken.insert(draw.randrange(len(broken) + 1), draw.randrange(256))
        (tmp_path / f"b{suffix}").write_bytes(broken)
        try:
            read_asset(tmp_path / f"b{suffix}", 1.0)
        except UserError as error:
            assert "\n" not in str(error)
    with pytest.raises(UserError, match=r"is no mesh; expected a file \.glb, \.gltf, \.obj, \.ply, \.stl"):
        read_asset(tmp_path / "a.fbx", 1.0)
