"""What is read from a file: arrays, transforms, materials, pictures."""

from __future__ import annotations

import base64
import struct

import numpy as np
import pytest
import torch
import trimesh
from gltf_files import QUAD, QUAD_FACES, QUAD_UV, GltfFile, picture, quad

from threefusion.asset.asset import FRONT_MINUS_Y, Y_UP, Z_UP, Placement
from threefusion.asset.read import read_asset
from threefusion.asset.single import read_mesh
from threefusion.messages import Noted
from threefusion.system.mesh_file import read_mesh_file


def in_file(asset, part=0):
    """The vertices of a part in the file's world."""
    return asset.placement.to_file(asset.parts[part].mesh.vertices)


def close(points, expected):
    return torch.allclose(points, torch.as_tensor(np.asarray(expected), dtype=torch.float64), atol=1e-6)


def test_a_textured_square_is_upright_faces_the_front_and_has_its_picture(tmp_path):
    file = GltfFile()
    colors = np.arange(2 * 3 * 3).reshape(2, 3, 3) * 10
    texture = file.image(picture(colors))
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    file.mesh(quad(file, material=0))
    asset = read_asset(file.glb(tmp_path / "quad.glb"), 2.0)
    mesh = asset.parts[0].mesh
    assert mesh.faces.flatten().tolist() == QUAD_FACES
    # front +x, left +y, up +z: the square's +x is the viewer's right, the scene's +y
    half = 1.5 / 2**0.5
    assert torch.allclose(mesh.vertices, torch.tensor([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1.0]]) * half)
    assert mesh.uv.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert torch.allclose(asset.materials[0].textures["base_color"] * 255, torch.tensor(colors, dtype=torch.float32))
    assert close(in_file(asset), QUAD)


@pytest.mark.parametrize("axes", [Y_UP, Z_UP, FRONT_MINUS_Y])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_placement_is_undone_exactly(axes, offset):
    points = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 37 + offset
    placement = Placement.fit(points, 1.3, axes)
    scene = placement.to_scene(points)
    assert float(scene.norm(dim=-1).max()) == pytest.approx(0.75 * 1.3)
    assert torch.equal(placement.to_file(scene).float(), points)
    bound = 2**-51 * (points.double().abs() + placement.center.abs())
    assert ((placement.to_file(scene) - points).abs() <= bound).all()


def single(tmp_path, file):
    """The only part of a file, and its vertices there."""
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    assert len(asset.parts) == 1
    return asset.parts[0], in_file(asset)


def test_strided_arrays_skip_what_lies_between(tmp_path):
    file = GltfFile()
    file.mesh(
        {"attributes": {"POSITION": file.array(QUAD, stride=20), "TEXCOORD_0": file.array(QUAD_UV, stride=16)}} | faces(file)
    )
    part, points = single(tmp_path, file)
    assert close(points, QUAD)
    assert part.mesh.uv.tolist() == [[u, 1 - v] for u, v in QUAD_UV]


def faces(file):
    return {"indices": file.array(QUAD_FACES, "u2")}


def test_sparse_arrays_change_some_rows(tmp_path):
    file = GltfFile()
    position = file.array(QUAD)
    where, moved = file.view(struct.pack("<2H", 1, 3)), file.view(np.array([[5, 0, 0], [-1, 7, 0]], "<f4").tobytes())
    indices = {"bufferView": where, "componentType": 5123}
    file.tree["accessors"][position]["sparse"] = {"count": 2, "indices": indices, "values": {"bufferView": moved}}
    file.mesh({"attributes": {"POSITION": position}} | faces(file))
    assert close(single(tmp_path, file)[1], [QUAD[0], [5, 0, 0], QUAD[2], [-1, 7, 0]])


@pytest.mark.parametrize(("dtype", "unit"), [("i1", 127), ("u1", 255), ("i2", 32767), ("u2", 65535)])
def test_quantized_arrays_are_decoded(tmp_path, dtype, unit):
    file = GltfFile(extensionsUsed=["KHR_mesh_quantization"], extensionsRequired=["KHR_mesh_quantization"])
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    sizes = {"stride": 4 if dtype in ("i1", "u1") else 8}
    attributes = {"POSITION": file.array(corners * 100, dtype, **sizes)}
    attributes["TEXCOORD_0"] = file.array(corners[:, :2] * unit, dtype, stride=4, normalized=True)
    attributes["NORMAL"] = file.array([[0, 0, unit]] * 4, dtype, **sizes, normalized=True)
    file.mesh({"attributes": attributes} | faces(file), scale=[0.02, 0.02, 0.02])
    part, points = single(tmp_path, file)
    assert close(points, corners * 2)
    assert part.mesh.uv.tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]
    assert part.mesh.normals.tolist() == [[1, 0, 0]] * 4


def test_the_smallest_normalized_integer_is_minus_one(tmp_path):
    file = GltfFile()
    uv = file.array([[-128, 127], [127, 127], [127, 0], [0, 0]], "i1", stride=4, normalized=True)
    file.mesh({"attributes": {"POSITION": file.positions(QUAD), "TEXCOORD_0": uv}} | faces(file))
    assert single(tmp_path, file)[0].mesh.uv[0].tolist() == [-1, 0]


def test_a_texture_with_coordinates_of_its_own_is_left_alone_with_a_note(tmp_path):
    file = GltfFile()
    info = {"index": file.image(picture([[[128, 128, 255]]]))}
    file.add(
        "materials", {"name": "m", "pbrMetallicRoughness": {"baseColorTexture": info}, "normalTexture": info | {"texCoord": 1}}
    )
    file.mesh(quad(file, material=0))
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    assert list(asset.materials[0].textures) == ["base_color"]
    assert "material m: the texture normal has texture coordinates of its own and stays as it is" in asset.notes


def test_nested_transforms_apply_from_the_inside_out(tmp_path):
    file = GltfFile()
    # a quarter turn about +z, then twice the size, then a shift
    half = 0.5**0.5
    child = file.mesh(quad(file), rotation=[0, 0, half, half])
    scaled = file.add("nodes", {"scale": [2, 1, 1], "children": [child]})
    file.add("nodes", {"translation": [10, 0, 0], "children": [scaled]})
    x, y, z = np.array(QUAD).T
    assert close(single(tmp_path, file)[1], np.stack([10 - 2 * y, x, z], 1))


def test_instances_of_a_mesh_share_their_primitive(tmp_path):
    file = GltfFile()
    file.mesh(quad(file, material=0), translation=[3, 0, 0])
    file.add("nodes", {"mesh": 0, "translation": [-3, 0, 0]})
    file.add("materials", {})
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    assert [part.primitive for part in asset.parts] == [(0, 0), (0, 0)]
    assert close(in_file(asset, 1), np.array(QUAD) - [3, 0, 0])


def test_a_mirrored_part_still_faces_outward(tmp_path):
    file = GltfFile()
    primitive = quad(file)
    primitive["attributes"]["NORMAL"] = file.array([[0, 0.6, 0.8]] * 4)
    file.mesh(primitive, scale=[1, 1, -1])
    part, _ = single(tmp_path, file)
    a, b, c = part.mesh.vertices[part.mesh.faces[0]]
    assert torch.linalg.cross(b - a, c - a)[0] < 0
    assert torch.allclose(part.mesh.normals, torch.tensor([-0.8, 0, 0.6]).expand(4, 3))


@pytest.mark.parametrize(("mode", "expected"), [(5, [0, 1, 3, 1, 2, 3]), (6, [1, 3, 0, 3, 2, 0]), (4, [0, 1, 3, 1, 2, 3])])
def test_strips_and_fans_become_triangles(tmp_path, mode, expected):
    file = GltfFile()
    order = {5: [0, 1, 3, 2], 6: [0, 1, 3, 2], 4: [0, 1, 3, 1, 2, 3]}[mode]
    primitive = {"attributes": {"POSITION": file.array(QUAD)}, "mode": mode, "indices": file.array(order, "u1")}
    file.mesh(primitive)
    assert [sorted(face) for face in single(tmp_path, file)[0].mesh.faces.tolist()] == [
        sorted(expected[:3]),
        sorted(expected[3:]),
    ]
    a, b, c = np.array(QUAD)[single(tmp_path, file)[0].mesh.faces].transpose(1, 0, 2)
    if mode != 6:  # this fan folds over itself
        assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_points_and_lines_are_left_alone_with_a_note(tmp_path):
    file = GltfFile()
    file.mesh(quad(file), {"attributes": {"POSITION": file.array(QUAD)}, "mode": 1})
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    assert [part.primitive for part in asset.parts] == [(0, 0)]
    assert "node 0/mesh 0: primitive 1 has no triangles and stays as it is" in asset.notes


def test_a_skin_poses_its_mesh(tmp_path):
    file = GltfFile()
    primitive = quad(file)
    primitive["attributes"]["JOINTS_0"] = file.array([[0, 1, 0, 0]] * 4, "u1")
    primitive["attributes"]["WEIGHTS_0"] = file.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])
    inverse = np.stack([np.eye(4), np.eye(4)])
    inverse[1, 3, :3] = [0, -2, 0]  # column by column, as glTF has it
    file.add("skins", {"joints": [1, 2], "inverseBindMatrices": file.array(inverse.reshape(2, 16))})
    file.mesh(primitive, skin=0, translation=[100, 0, 0])
    file.add("nodes", {})
    file.add("nodes", {"translation": [0, 6, 0]})
    assert close(single(tmp_path, file)[1], [QUAD[0], QUAD[1], [1, 6, 0], [-1, 4, 0]])


def test_morph_targets_with_weights_are_applied(tmp_path):
    file = GltfFile()
    up = file.array([[0, 2, 0]] * 4)
    file.mesh(quad(file, targets=[{"POSITION": up}, {"POSITION": up}]), weights=[0.5, 0])
    assert close(single(tmp_path, file)[1], np.add(QUAD, [0, 1, 0]))


def test_texture_transforms_are_applied(tmp_path):
    file = GltfFile(extensionsUsed=["KHR_texture_transform"], extensionsRequired=["KHR_texture_transform"])
    # the example of the extension: the lower left quarter of the picture, a quarter turn clockwise
    moved = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}
    texture = {"index": file.image(picture(np.zeros((2, 2, 3)))), "extensions": {"KHR_texture_transform": moved}}
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": texture}})
    file.mesh(quad(file, material=0))
    uv = single(tmp_path, file)[0].mesh.uv
    assert torch.allclose(uv, torch.tensor([[0.5, 0], [0.5, 0.5], [0, 0.5], [0, 0.0]]), atol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("place", ["buffer", "data", "file"])
def test_pictures_of_all_formats_and_places(tmp_path, kind, place):
    data = picture(np.full((8, 8, 3), 200), kind)
    file = GltfFile()
    file.mesh(quad(file, material=0))
    entry = {"bufferView": file.view(data), "mimeType": f"image/{kind.lower()}"}
    if place == "data":
        entry = {"uri": f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"}
    elif place == "file":
        entry = {"uri": "a%20b.bin"}
        (tmp_path / "a b.bin").write_bytes(data)
    file.tree |= {"images": [entry], "textures": [{"source": 0}]}
    file.add("materials", {"pbrMetallicRoughness": {"metallicRoughnessTexture": {"index": 0}}})
    asset = read_asset(file.gltf(tmp_path / "a.gltf", "my buffer.bin"), 1.0)
    shown = asset.materials[0].textures["metallic_roughness"]
    assert shown.shape == (8, 8, 3)
    assert (shown * 255 - 200).abs().max() < 2


def test_factors_and_linear_vertex_colors_are_read(tmp_path):
    file = GltfFile()
    surface = {"baseColorFactor": [0.1, 0.2, 0.3, 0.4], "metallicFactor": 0.5, "roughnessFactor": 0.6}
    file.add("materials", {"pbrMetallicRoughness": surface, "alphaMode": "MASK", "alphaCutoff": 0.25})
    primitive = quad(file, material=0)
    primitive["attributes"]["COLOR_0"] = file.array([[65535, 0, 13933, 0]] * 4, "u2", normalized=True)
    file.mesh(primitive)
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    material = asset.materials[0]
    assert (material.base_color, material.metallic, material.roughness) == ((0.1, 0.2, 0.3, 0.4), 0.5, 0.6)
    assert (material.alpha_mode, material.cutoff) == ("mask", 0.25)
    assert torch.allclose(asset.parts[0].mesh.colors, torch.tensor([1.0, 0, 0.4985]).expand(4, 3), atol=1e-3)


def test_a_normal_map_has_its_scale(tmp_path):
    file = GltfFile()
    file.add("materials", {"normalTexture": {"index": file.image(picture([[[255, 128, 128]]])), "scale": 0}})
    file.mesh(quad(file, material=0))
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    assert torch.allclose(asset.materials[0].textures["normal"], torch.tensor([0.5, 0.5, 1]), atol=1e-6)


def test_texture_coordinates_without_area_count_as_none(tmp_path):
    file = GltfFile()
    file.mesh(quad(file, [[0.5, 0.5]] * 4))
    asset = read_asset(file.glb(tmp_path / "a.glb"), 1.0)
    assert asset.parts[0].mesh.uv is None
    assert any("enclose no area" in note for note in asset.notes)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda box: box.update_faces(np.arange(11)), "open"),
        (lambda box: box.invert(), "inside out"),
        (lambda box: setattr(box, "faces", np.concatenate([box.faces, [[0, 3, 5]]])), "non manifold"),
        (lambda box: setattr(box, "faces", np.concatenate([box.faces[:1, ::-1], box.faces[1:]])), "unevenly wound"),
    ],
)
def test_what_is_peculiar_is_noted_and_the_file_is_used(tmp_path, heard, change, note):
    box = trimesh.creation.box()
    change(box)
    box.export(tmp_path / "box.ply")
    asset = read_asset(tmp_path / "box.ply", 1.0)
    assert [line for line in asset.notes if line.startswith(f"{note}: 1 of 1 parts (box): ")]
    assert asset.parts[0].reversed == (note == "inside out")
    # said once where a scene starts from the file, and where a textured mesh does
    for read in (read_mesh, lambda path: read_mesh_file(path, 1.0, 64)):
        heard.clear()
        read(tmp_path / "box.ply")
        assert heard == [Noted(f"box.ply: {line}") for line in asset.notes]
    box = trimesh.creation.box()
    box.export(tmp_path / "box.ply")
    assert read_asset(tmp_path / "box.ply", 1.0).notes == []
