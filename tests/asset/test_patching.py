"""Other textures in a glTF file: what changes, and that nothing else does."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from gltf_files import QUAD, QUAD_UV, GltfFile, picture, quad

from threefusion.asset.container import open_container
from threefusion.asset.read import read_asset
from threefusion.asset.textures import decode
from threefusion.asset.write import retextured

RED, BLUE = torch.tensor([1.0, 0, 0]).expand(4, 4, 3), torch.tensor([0, 0, 1.0]).expand(4, 4, 3)


def write(files, folder):
    """The first of the files, all of them being written."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / next(iter(files))


def repaint(path, tmp_path, colors=None, corners=None):
    """A file whose materials all are red, or have other colours, and its asset."""
    asset = read_asset(path, 1.0)
    textures = {index: {"base_color": RED} for index in range(len(asset.materials))} if colors is None else colors
    made = write(retextured(asset, textures, {} if corners is None else corners), tmp_path / "out")
    return open_container(made), read_asset(made, 1.0)


def views_of(container):
    """The bytes of all buffer views."""
    return [bytes(container.view(index)) for index in range(len(container.entries("bufferViews")))]


def textured(file, **material):
    """A textured square with a grey picture."""
    grey = file.image(picture(np.full((2, 2, 3), 100)), name="grey")
    file.add("materials", {"name": "paint", "pbrMetallicRoughness": {"baseColorTexture": {"index": grey}}, **material})
    file.mesh(quad(file, material=0), name="square", extras={"owner": "me"})
    return file


def test_a_picture_is_exchanged_in_place_and_the_rest_of_the_buffer_moves(tmp_path):
    path = textured(GltfFile(extras={"a": [1.5, "é"]}, cameras=[{"type": "perspective"}])).glb(tmp_path / "a.glb")
    before, (after, asset) = open_container(path), repaint(path, tmp_path)
    assert torch.equal(asset.materials[0].textures["base_color"], RED)
    changed = [i for i, (old, new) in enumerate(zip(views_of(before), views_of(after), strict=True)) if old != new]
    assert changed == [0]
    trees = []
    for tree in (before.tree, after.tree):
        tree = json.loads(json.dumps(tree))
        for view in tree["bufferViews"]:
            del view["byteOffset"]
        del tree["bufferViews"][0], tree["buffers"]
        trees.append(tree)
    assert trees[0] == trees[1]


def test_nothing_to_change_leaves_a_glb_byte_for_byte_or_with_equal_json(tmp_path):
    path = textured(GltfFile()).glb(tmp_path / "a.glb")
    before, (after, _) = open_container(path), repaint(path, tmp_path, {})
    assert after.tree == before.tree
    assert after.chunks == before.chunks


def test_other_chunks_of_a_glb_stay(tmp_path):
    path = textured(GltfFile()).glb(tmp_path / "a.glb")
    data = path.read_bytes() + struct.pack("<I4s", 4, b"MINE") + b"abcd"
    path.write_bytes(data[:8] + struct.pack("<I", len(data)) + data[12:])
    after, _ = repaint(path, tmp_path)
    assert after.chunks[1] == (int.from_bytes(b"MINE", "little"), b"abcd")


@pytest.mark.parametrize("also", ["occlusion", "material", "texture"])
def test_a_picture_that_something_else_uses_stays(tmp_path, also):
    file = textured(GltfFile())
    if also == "occlusion":
        file.tree["materials"][0]["occlusionTexture"] = {"index": 0}
    elif also == "material":
        file.add("materials", {"emissiveTexture": {"index": 0}})
    else:
        file.add("textures", {"source": 0})
        file.add("materials", {"emissiveTexture": {"index": 1}})
    path = file.glb(tmp_path / "a.glb")
    before, (after, asset) = open_container(path), repaint(path, tmp_path)
    assert views_of(after)[: len(views_of(before))] == views_of(before)
    assert after.entries("images")[0] == before.entries("images")[0]
    kept = int(also == "texture")
    assert after.entries("textures")[kept] == before.entries("textures")[kept]
    assert torch.equal(asset.materials[0].textures["base_color"], RED)


def test_two_materials_with_one_picture_get_one_each(tmp_path):
    file = textured(GltfFile())
    file.add("materials", {"name": "second", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
    file.mesh(quad(file, material=1))
    after, asset = repaint(file.glb(tmp_path / "a.glb"), tmp_path, {0: {"base_color": RED}, 1: {"base_color": BLUE}})
    assert [len(after.entries(kind)) for kind in ("images", "textures", "materials")] == [2, 2, 2]
    assert torch.equal(asset.materials[0].textures["base_color"], RED)
    assert torch.equal(asset.materials[1].textures["base_color"], BLUE)


def test_the_sampler_and_the_coordinates_of_a_texture_stay(tmp_path):
    file = textured(GltfFile(samplers=[{"wrapS": 33071, "wrapT": 33648}]))
    file.tree["textures"][0]["sampler"] = 0
    moved = {"offset": [0.25, 0], "rotation": 0.5, "scale": [2, 3]}
    info = file.tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    info |= {"texCoord": 1, "extensions": {"KHR_texture_transform": moved}}
    attributes = file.tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["TEXCOORD_1"] = file.array(np.array(QUAD_UV) * 0.5)
    path = file.glb(tmp_path / "a.glb")
    both = {0: {"base_color": RED, "metallic_roughness": BLUE}}
    before, (after, asset) = read_asset(path, 1.0), repaint(path, tmp_path, both)
    surface = after.tree["materials"][0]["pbrMetallicRoughness"]
    for key in ("baseColorTexture", "metallicRoughnessTexture"):
        assert {**surface[key], "index": 0} == {**info, "index": 0}
    assert torch.equal(asset.parts[0].mesh.uv, before.parts[0].mesh.uv)
    assert asset.materials[0].wrap == ("clamp", "mirror")
    assert set(asset.materials[0].textures) == {"base_color", "metallic_roughness"}


def test_factors_and_vertex_colors_do_not_multiply_the_new_picture(tmp_path):
    file = textured(GltfFile(), alphaMode="BLEND")
    file.tree["materials"][0]["pbrMetallicRoughness"] |= {
        "baseColorFactor": [0.5, 0.2, 0.1, 0.7],
        "metallicFactor": 0.3,
        "roughnessFactor": 0.4,
    }
    file.tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = colors = file.array([[0.5, 0, 0]] * 4)
    path = file.glb(tmp_path / "a.glb")
    after, asset = repaint(path, tmp_path, {0: {"base_color": RED}})
    material = asset.materials[0]
    assert material.base_color == (1.0, 1.0, 1.0, 0.7)
    assert (material.metallic, material.roughness) == (0.3, 0.4)
    assert asset.parts[0].mesh.colors is None
    assert after.tree["meshes"][0]["primitives"][0]["attributes"]["_COLOR_0"] == colors
    both = {0: {"base_color": RED, "metallic_roughness": BLUE}}
    material = repaint(path, tmp_path / "second", both)[1].materials[0] if (tmp_path / "second").mkdir() is None else None
    assert (material.metallic, material.roughness) == (1.0, 1.0)


@pytest.mark.parametrize("size", [4, 8])
def test_the_alpha_channel_stays(tmp_path, size):
    alpha = np.arange(16).reshape(4, 4) * 16
    file = GltfFile()
    texture = file.image(picture(np.concatenate([np.full((4, 4, 3), 9), alpha[..., None]], -1)))
    file.add("materials", {"alphaMode": "MASK", "pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    file.mesh(quad(file, material=0))
    red = {0: {"base_color": RED[:1, :1].expand(size, size, 3)}}
    after, asset = repaint(file.glb(tmp_path / "a.glb"), tmp_path, red)
    shown = decode(bytes(after.view(after.tree["images"][0]["bufferView"])), "")
    assert torch.equal(shown[..., :3], red[0]["base_color"])
    step = size // 4
    means = torch.nn.functional.avg_pool2d(shown[None, ..., 3] * 255, step)[0]
    assert torch.allclose(means, torch.tensor(alpha, dtype=torch.float32), atol=0.5 if step == 1 else 30)
    assert asset.materials[0].alpha_mode == "mask"


def test_a_primitive_without_coordinates_gets_some_and_only_its_seams_are_split(tmp_path):
    file = GltfFile(materials=[{"name": "paint"}])
    attributes = {
        "POSITION": file.positions(QUAD),
        "COLOR_0": file.array([[9, 8, 7]] * 4, "u1", stride=4, normalized=True),
        "_KEPT": file.array(np.arange(4), "u2", stride=4),
    }
    target = {"POSITION": file.positions(np.ones((4, 3)))}
    primitive = {"attributes": attributes, "indices": file.array([0, 1, 2, 0, 2, 3], "u1"), "material": 0}
    file.mesh(primitive | {"targets": [target]})
    path = file.glb(tmp_path / "a.glb")
    # the first face as one chart, the second as another: vertices 0 and 2 are split
    uv = torch.tensor([[[0, 0], [0.5, 0], [0.5, 0.5]], [[0.5, 0.5], [1, 1], [0.5, 1]]])
    before, (after, asset) = open_container(path), repaint(path, tmp_path, corners={(0, 0): uv})
    mesh = asset.parts[0].mesh
    assert torch.equal(mesh.uv[mesh.faces], uv)
    original = read_asset(path, 1.0).parts[0].mesh
    assert torch.equal(mesh.vertices[:4], original.vertices)
    assert torch.equal(mesh.vertices[mesh.faces], original.vertices[original.faces])
    assert len(mesh.vertices) == 6
    assert views_of(after)[: len(views_of(before))] == views_of(before)
    assert after.entries("accessors")[: len(before.entries("accessors"))] == before.entries("accessors")
    assert torch.equal(asset.materials[0].textures["base_color"], RED)


def test_coordinates_without_seams_split_nothing(tmp_path):
    file = GltfFile()
    file.mesh(quad(file, None))
    path = file.glb(tmp_path / "a.glb")
    uv = torch.tensor(QUAD_UV, dtype=torch.float32)[torch.tensor([[0, 1, 2], [0, 2, 3]])]
    before, (after, asset) = open_container(path), repaint(path, tmp_path, corners={(0, 0): uv})
    assert torch.equal(asset.parts[0].mesh.uv, torch.tensor(QUAD_UV, dtype=torch.float32))
    assert len(after.entries("accessors")) == len(before.entries("accessors")) + 1
    assert after.tree["meshes"][0]["primitives"][0]["indices"] == before.tree["meshes"][0]["primitives"][0]["indices"]
    assert asset.materials[0].name == "default"


def test_a_mirrored_part_gets_its_coordinates_at_the_right_corners(tmp_path):
    file = GltfFile()
    file.mesh(quad(file, None), scale=[-1, 1, 1])
    path = file.glb(tmp_path / "a.glb")
    part = read_asset(path, 1.0).parts[0]
    assert part.reversed
    uv = part.mesh.vertices[part.mesh.faces][..., 1:] + 0.5
    mesh = repaint(path, tmp_path, corners={(0, 0): uv})[1].parts[0].mesh
    assert torch.allclose(mesh.uv, mesh.vertices[:, 1:] + 0.5, atol=1e-6)


def test_a_material_of_parts_with_and_without_coordinates_is_copied(tmp_path):
    file = textured(GltfFile())
    file.mesh(quad(file, None, material=0))
    uv = torch.tensor(QUAD_UV, dtype=torch.float32)[torch.tensor([[0, 1, 2], [0, 2, 3]])] * 0.5
    colors = {0: {"base_color": RED}, 1: {"base_color": BLUE}}
    path = file.glb(tmp_path / "a.glb")
    after, asset = repaint(path, tmp_path, colors, {(1, 0): uv})
    assert [part.material for part in asset.parts] == [0, 1]
    assert torch.equal(asset.materials[0].textures["base_color"], RED)
    assert torch.equal(asset.materials[1].textures["base_color"], BLUE)
    assert [entry["name"] for entry in after.entries("materials")] == ["paint", "paint"]


def test_a_material_that_an_unseen_primitive_has_too_is_copied(tmp_path):
    file = GltfFile(materials=[{"name": "paint", "pbrMetallicRoughness": {"baseColorFactor": [0, 1, 0, 1]}}])
    file.mesh(quad(file, material=0))
    file.add("meshes", {"primitives": [quad(file, None, material=0)]})  # at no node
    after, _ = repaint(file.glb(tmp_path / "a.glb"), tmp_path)
    assert after.tree["materials"][0] == file.tree["materials"][0]
    assert after.tree["meshes"][0]["primitives"][0]["material"] == 1
    assert after.tree["meshes"][1]["primitives"][0]["material"] == 0


@pytest.mark.parametrize("external", [True, False])
def test_a_gltf_keeps_its_files_and_gets_a_new_picture(tmp_path, external):
    file = textured(GltfFile())
    file.tree["images"] = [{"uri": "maps/old.jpg"}, {"uri": "maps/old.png"}] if external else file.tree["images"]
    if external:
        (tmp_path / "maps").mkdir()
        for name in ("old.jpg", "old.png"):
            (tmp_path / "maps" / name).write_bytes(picture(np.zeros((2, 2, 3)), "JPEG" if name.endswith("jpg") else "PNG"))
        file.add("textures", {"source": 1})
        file.tree["materials"][0]["emissiveTexture"] = {"index": 1}
    path = file.gltf(tmp_path / "a.gltf", "a.bin" if external else "")
    after, asset = repaint(path, tmp_path)
    assert torch.equal(asset.materials[0].textures["base_color"], RED)
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert names == (["a.bin", "a.gltf", "maps/old-2.png", "maps/old.png"] if external else ["a.gltf"])
    if external:
        for name in ("a.bin", "maps/old.png"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert bytes(after.buffer(0)) == file.data


def test_a_webp_becomes_a_png_and_its_extension_goes(tmp_path):
    file = GltfFile(extensionsUsed=["EXT_texture_webp"], extensionsRequired=["EXT_texture_webp"])
    colors = np.arange(12).reshape(2, 2, 3) * 20
    source = file.add("images", {"bufferView": file.view(picture(colors, "WEBP")), "mimeType": "image/webp"})
    texture = file.add("textures", {"extensions": {"EXT_texture_webp": {"source": source}}})
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    file.mesh(quad(file, material=0))
    path = file.glb(tmp_path / "a.glb")
    shown = read_asset(path, 1.0).materials[0].textures["base_color"]
    assert torch.allclose(shown * 255, torch.tensor(colors, dtype=torch.float32), atol=1e-3)
    after, _ = repaint(path, tmp_path)
    assert not {"extensionsUsed", "extensionsRequired"} & after.tree.keys()
    assert after.tree["textures"] == [{"source": 0}]
    assert after.tree["images"][0]["mimeType"] == "image/png"


def test_an_asset_is_the_same_after_its_textures_were_written(tmp_path):
    path = textured(GltfFile()).glb(tmp_path / "a.glb")
    asset = read_asset(path, 1.0)
    same = {index: material.textures for index, material in enumerate(asset.materials)}
    _, again = repaint(path, tmp_path, same)
    assert replace(again.materials[0], textures={}) == replace(asset.materials[0], textures={})
    assert torch.equal(again.materials[0].textures["base_color"], asset.materials[0].textures["base_color"])


@pytest.mark.parametrize("shared", ["bytes", "view"])
def test_bytes_that_two_pictures_share_stay(tmp_path, shared):
    file = textured(GltfFile())
    view = file.tree["images"][0]["bufferView"]
    again = view if shared == "view" else file.add("bufferViews", dict(file.tree["bufferViews"][view]))
    file.add("textures", {"source": file.add("images", {"bufferView": again, "mimeType": "image/png"})})
    file.tree["materials"][0]["emissiveTexture"] = {"index": 1}
    path = file.glb(tmp_path / "a.glb")
    before, (after, asset) = open_container(path), repaint(path, tmp_path)
    kept = [container.view(container.tree["images"][1]["bufferView"]) for container in (before, after)]
    assert bytes(kept[0]) == bytes(kept[1])
    assert torch.equal(asset.materials[0].textures["base_color"], RED)


def test_a_texture_that_is_added_has_the_sampler_of_the_old_one(tmp_path):
    file = textured(GltfFile(samplers=[{"wrapS": 33071}]))
    file.tree["textures"][0]["sampler"] = 0
    file.tree["materials"][0]["occlusionTexture"] = {"index": 0}
    after, _ = repaint(file.glb(tmp_path / "a.glb"), tmp_path)
    assert after.tree["textures"][1] == {"sampler": 0, "source": 1}


def test_the_scale_of_a_normal_map_goes_with_it(tmp_path):
    file = textured(GltfFile())
    file.tree["materials"][0]["normalTexture"] = {"index": file.image(picture([[[128, 128, 255]]])), "scale": 0.5}
    blue = torch.tensor([0.5, 0.5, 1]).expand(2, 2, 3)
    after, _ = repaint(file.glb(tmp_path / "a.glb"), tmp_path, {0: {"normal": blue}})
    assert after.tree["materials"][0]["normalTexture"] == {"index": 1}


def test_a_primitive_with_new_coordinates_loses_the_textures_of_others(tmp_path):
    file = textured(GltfFile(), emissiveTexture={"index": 0})
    file.mesh(quad(file, None, material=0))
    uv = torch.tensor(QUAD_UV, dtype=torch.float32)[torch.tensor([[0, 1, 2], [0, 2, 3]])]
    after, _ = repaint(file.glb(tmp_path / "a.glb"), tmp_path, {1: {"base_color": BLUE}}, {(1, 0): uv})
    assert "emissiveTexture" in after.tree["materials"][0]
    assert "emissiveTexture" not in after.tree["materials"][1]


def test_coordinates_belong_to_the_first_instance_of_a_primitive(tmp_path):
    file = GltfFile()
    file.mesh(quad(file, None))
    file.add("nodes", {"mesh": 0, "scale": [-1, 1, 1], "translation": [5, 0, 0]})
    uv = torch.tensor(QUAD_UV, dtype=torch.float32)[torch.tensor([[0, 1, 2], [0, 2, 3]])]
    _, asset = repaint(file.glb(tmp_path / "a.glb"), tmp_path, corners={(0, 0): uv})
    assert [part.reversed for part in asset.parts] == [False, True]
    assert torch.equal(asset.parts[0].mesh.uv[asset.parts[0].mesh.faces], uv)
