"""Every format loads back as what was written, in the axes and units its readers expect."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from test_topology import CUBE, ball
from test_uv import with_normals

from threefusion.asset.accessors import read_floats
from threefusion.asset.container import open_container
from threefusion.asset.plain import plain_container
from threefusion.asset.read import read_asset
from threefusion.errors import UserError
from threefusion.exporter.axes import from_y_up, from_z_up, to_y_up, to_z_up
from threefusion.exporter.model import GENERATOR, About, FileOptions
from threefusion.exporter.preview import load_glb
from threefusion.exporter.topology import is_watertight
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import ENCODERS, write_mesh
from threefusion.types import Mesh

CHECKER = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(256)[..., None].expand(64, 64, 3) / 255


def textured(mesh):
    unwrapped = unwrap(with_normals(mesh), 64)
    return replace(unwrapped, textures={"base_color": CHECKER}, colors=unwrapped.vertices.clamp(0, 1))


def write(name: str, folder: Path, mesh=None, **options) -> list[Path]:
    mesh = textured(ball(16)) if mesh is None else mesh
    return write_mesh(replace(mesh, colors=mesh.vertices * 0.5 + 0.5), folder, [name], FileOptions(**options))


def brick() -> Mesh:
    """3 x 1 x 2 scene units, off the origin and above the floor."""
    return textured(replace(CUBE, vertices=CUBE.vertices * torch.tensor([3.0, 1.0, 2.0]) + torch.tensor([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(
    ("there", "back", "expected"),
    [
        (to_y_up, from_y_up, [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        (to_z_up, from_z_up, [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    ],
)
def test_front_left_and_up_in_files(there, back, expected):
    assert there(torch.eye(3)).tolist() == expected
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(back(there(points)), points)
    # a rotation, not a mirror: the winding survives
    assert torch.linalg.det(there(torch.eye(3))) == pytest.approx(1)


@pytest.mark.parametrize("name", ["glb", "obj"])
def test_viewer_formats_are_y_up(name, tmp_path):
    mesh = textured(replace(CUBE, vertices=CUBE.vertices * torch.tensor([3.0, 1.0, 2.0])))
    loaded = trimesh.load(write(name, tmp_path, mesh)[0], force="mesh", process=False)
    assert loaded.extents.tolist() == pytest.approx([1, 2, 3])
    assert loaded.volume == pytest.approx(6)


def test_ply_has_z_up_and_is_welded(tmp_path):
    loaded = trimesh.load(write("ply", tmp_path, brick())[0], force="mesh", process=False)
    assert loaded.extents.tolist() == pytest.approx([1, 3, 2])
    assert loaded.is_watertight
    assert len(loaded.vertices) == 8
    assert loaded.volume == pytest.approx(6)


@pytest.mark.parametrize(("options", "largest"), [({}, 100), ({"height": 0.3}, 450)])
@pytest.mark.parametrize("name", ["stl", "3mf"])
def test_print_formats_are_in_millimetres_on_the_floor(name, options, largest, tmp_path):
    """Without a height the largest side is 100 mm long."""
    mesh = read_print(write(name, tmp_path, brick(), **options)[0])
    size = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    assert size.tolist() == pytest.approx([largest / 3, largest, largest * 2 / 3])
    assert mesh.vertices[:, 2].min().item() == pytest.approx(0, abs=1e-4)
    assert is_watertight(mesh)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(6 * (largest / 3) ** 3, rel=1e-4)


def read_print(path: Path) -> Mesh:
    """The welded mesh of an STL or a 3MF file, as it is on the bed."""
    if path.suffix == ".stl":
        loaded = trimesh.load(path, force="mesh")
        return Mesh(torch.from_numpy(np.array(loaded.vertices)).float(), torch.from_numpy(np.array(loaded.faces)))
    item, built, _ = read_3mf(path)
    shift = torch.tensor(list(built.GetObjectTransform().Fields[3]))
    vertices = torch.tensor([list(vertex.Coordinates) for vertex in item.GetVertices()])
    return Mesh(vertices + shift, torch.tensor([list(face.Indices) for face in item.GetTriangleIndices()]))


def read_3mf(path: Path):
    """Mesh, build item and model of a file that lib3mf's strict reader accepts without a warning."""
    lib3mf = pytest.importorskip("lib3mf")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    assert reader.GetWarningCount() == 0
    items, objects = model.GetBuildItems(), model.GetMeshObjects()
    assert items.MoveNext() and objects.MoveNext()
    return objects.GetCurrentMeshObject(), items.GetCurrent(), model


def test_every_triangle_of_a_3mf_has_the_colors_of_its_corners(tmp_path):
    mesh = brick()
    mesh = replace(mesh, colors=(mesh.vertices - mesh.vertices.amin(0)) / torch.tensor([3.0, 1.0, 2.0]))
    path = write_mesh(mesh, tmp_path, ["3mf"])[0]
    item, built, model = read_3mf(path)
    assert item.IsManifoldAndOriented()
    resource, _, has_color = item.GetObjectLevelProperty()
    assert has_color
    group = model.GetColorGroupByID(resource)
    colors = {index: group.GetColor(index) for index in group.GetAllPropertyIDs()}
    positions = torch.tensor([list(vertex.Coordinates) for vertex in item.GetVertices()])
    expected = dict(zip(map(tuple, as_corners(mesh).tolist()), mesh.colors.mul(255).round().int().tolist(), strict=True))
    for index in range(item.GetTriangleCount()):
        properties, corners = item.GetTriangleProperties(index), item.GetTriangle(index)
        assert properties.ResourceID == resource
        for color, corner in zip(properties.PropertyIDs, corners.Indices, strict=True):
            seen = colors[color]
            assert [seen.Red, seen.Green, seen.Blue, seen.Alpha] == [*expected[corner_of(positions, corner)], 255]
    # in the positive octant
    shift = torch.tensor(list(built.GetObjectTransform().Fields[3]))
    assert (positions + shift).amin(0).tolist() == pytest.approx([0, 0, 0], abs=1e-4)


def as_corners(mesh: Mesh) -> torch.Tensor:
    """Which corner of its box each vertex is, in the axes of the file."""
    vertices = to_z_up(mesh.vertices)
    return vertices > (vertices.amin(0) + vertices.amax(0)) / 2


def corner_of(positions: torch.Tensor, index: int) -> tuple[bool, ...]:
    return tuple((positions[index] > (positions.amin(0) + positions.amax(0)) / 2).tolist())


@pytest.mark.parametrize("name", ["glb", "obj", "ply", "usdz"])
def test_height_and_floor_in_metres(name, tmp_path):
    points, up = positions_of(write(name, tmp_path, brick(), height=0.3, on_floor=True)[0])
    low, high = points.min(0), points.max(0)
    assert (high - low)[up] == pytest.approx(0.3)
    assert sorted(high - low) == pytest.approx([0.15, 0.3, 0.45])
    assert low[up] == pytest.approx(0, abs=1e-6)
    middle = np.delete((low + high) / 2, up)
    assert middle == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("name", ["glb", "obj", "ply", "usdz"])
def test_without_a_height_a_scene_unit_is_a_metre(name, tmp_path):
    points, up = positions_of(write(name, tmp_path, brick())[0])
    middle = (points.min(0) + points.max(0)) / 2
    assert middle == pytest.approx([2.5, 4, 2.5] if up == 1 else [2.5, -2.5, 4])


def positions_of(path: Path) -> tuple[np.ndarray, int]:
    """Positions in a file, and the axis that is up."""
    if path.suffix != ".usdz":
        return np.array(trimesh.load(path, force="mesh", process=False).vertices), 2 if path.suffix == ".ply" else 1
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path))
    assert (UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)) == ("Y", 1)
    return np.array(UsdGeom.Mesh(stage.GetPrimAtPath("/Model/Surface")).GetPointsAttr().Get()), 1


def test_a_height_is_undone_when_the_glb_is_read(tmp_path):
    mesh = brick()
    loaded = load_glb(write("glb", tmp_path, mesh, height=0.01, on_floor=True)[0])
    assert torch.allclose(loaded.vertices, mesh.vertices, atol=1e-5)


@pytest.mark.parametrize(("vertices", "component"), [(65535, 5123), (65536, 5125)])
def test_indices_have_16_bits_where_those_suffice(vertices, component, tmp_path):
    """The largest number of 16 bits is no index."""
    faces = torch.tensor([[0, 1, vertices - 1], [vertices - 1, 1, 2]])
    points = torch.rand(vertices, 3, generator=torch.Generator().manual_seed(0))
    mesh = Mesh(points, faces, normals=torch.eye(3)[0].expand(vertices, 3), colors=points)
    path = write_mesh(mesh, tmp_path, ["glb"])[0]
    tree = open_container(path).tree
    assert tree["accessors"][tree["meshes"][0]["primitives"][0]["indices"]]["componentType"] == component
    assert torch.equal(load_glb(path).faces, faces)


@pytest.mark.parametrize("uv", [True, False])
def test_the_compressed_file_is_nearly_the_same_mesh_and_much_smaller(uv, tmp_path):
    mesh = textured(ball(24))
    smooth = torch.linspace(0, 1, 128)[:, None, None].expand(128, 128, 3)
    mesh = replace(mesh, textures={"base_color": smooth, "normal": smooth}) if uv else replace(mesh, uv=None, textures=None)
    path, web = write_mesh(mesh, tmp_path, ["glb"], FileOptions(web=True, height=0.2))
    assert (path.name, web.name) == ("model.glb", "model.web.glb")
    tree = open_container(web).tree
    required = ["KHR_mesh_quantization", "EXT_texture_webp"] if uv else ["KHR_mesh_quantization"]
    assert tree["extensionsRequired"] == tree["extensionsUsed"] == required
    assert "extensionsRequired" not in open_container(path).tree
    assert web.stat().st_size < 0.7 * path.stat().st_size
    full, small = load_glb(path), load_glb(web)
    assert torch.equal(full.faces, small.faces)
    assert (full.vertices - small.vertices).abs().max() < 2e-5
    assert (full.normals - small.normals).abs().max() < 5e-3
    if not uv:
        assert (full.colors - small.colors).abs().max() < 1e-3
        return
    assert (full.uv - small.uv).abs().max() < 1e-5
    assert (full.textures["base_color"] - small.textures["base_color"]).abs().max() < 0.02
    assert torch.equal(full.textures["normal"], small.textures["normal"])


ABOUT = About("a red car\n(small)", 3, ("some-model: a licence", "other: MIT"))


def test_files_name_their_origin(tmp_path):
    options = FileOptions(about=ABOUT, web=True)
    paths = write_mesh(textured(CUBE), tmp_path, ["glb", "obj", "ply"], options)
    for path in (paths[0], paths[-1]):
        asset = open_container(path).tree["asset"]
        assert asset["generator"].startswith("threefusion ")
        assert asset["extras"] == {"prompt": ABOUT.prompt, "seed": 3, "models": list(ABOUT.models)}
    for path in paths:
        if path.suffix in (".obj", ".ply"):
            mark = b"# " if path.suffix == ".obj" else b"comment "
            assert mark + b"prompt: a red car (small)\n" in path.read_bytes()
            assert mark + b"models: ['some-model: a licence', 'other: MIT']\n" in path.read_bytes()
            assert trimesh.load(path, force="mesh").volume == pytest.approx(1, rel=1e-4)


def test_packages_name_their_origin(tmp_path):
    for name in ("lib3mf", "pxr"):
        pytest.importorskip(name)
    from pxr import Usd

    path, other = write_mesh(textured(CUBE), tmp_path, ["3mf", "usdz"], FileOptions(about=ABOUT))
    *_, model = read_3mf(path)
    group = model.GetMetaDataGroup()
    named = {group.GetMetaData(i).GetName(): group.GetMetaData(i).GetValue() for i in range(group.GetMetaDataCount())}
    assert named["Title"] == "a red car (small)" and "seed 3" in named["Description"]
    assert all(model in named["LicenseTerms"] for model in ABOUT.models)
    stage = Usd.Stage.Open(str(other))
    layer = stage.GetRootLayer()
    assert layer.customLayerData["prompt"] == "a red car (small)" and layer.customLayerData["seed"] == 3
    assert layer.customLayerData["models"] == "\n".join(ABOUT.models)


@pytest.mark.parametrize("prompt", ["bell\x07", "nothing\0 more", "<b>&\"']]>", "\U0001f697", "\ufffe\r\n"])
def test_any_prompt_leaves_the_files_readable(prompt, tmp_path):
    """XML has no control characters, C strings no zeros."""
    for name in ("lib3mf", "pxr"):
        pytest.importorskip(name)
    from pxr import Usd

    paths = write_mesh(textured(CUBE), tmp_path, ["glb", "obj", "ply", "3mf", "usdz"], FileOptions(about=About(prompt, 1)))
    assert open_container(paths[0]).tree["asset"]["extras"]["prompt"] == prompt
    for path in paths:
        if path.suffix in (".glb", ".obj", ".ply"):
            assert trimesh.load(path, force="mesh").volume == pytest.approx(1, rel=1e-4)
        elif path.suffix == ".3mf":
            with zipfile.ZipFile(path) as package:
                root = ElementTree.fromstring(package.read("3D/3dmodel.model"))
            assert [entry.text for entry in root if entry.get("name") == "Application"] == [GENERATOR]
        elif path.suffix == ".usdz":
            assert Usd.Stage.Open(str(path)).GetPrimAtPath("/Model/Surface")


def test_a_flat_object_has_no_height(tmp_path):
    flat = replace(textured(CUBE), vertices=torch.eye(3)[[0, 1]].repeat(30, 1)[: len(textured(CUBE).vertices)])
    with pytest.raises(UserError, match="height: the object is flat"):
        write_mesh(flat, tmp_path, ["glb"], FileOptions(height=0.3))
    assert list(tmp_path.iterdir()) == []


def test_packages_do_not_depend_on_the_time(tmp_path):
    for name in ("lib3mf", "pxr"):
        pytest.importorskip(name)
    first = write_mesh(textured(CUBE), tmp_path / "a", ["3mf", "usdz"])
    second = write_mesh(textured(CUBE), tmp_path / "b", ["3mf", "usdz"])
    stamps = [path.read_bytes() for path in first]
    assert stamps == [path.read_bytes() for path in second]
    with zipfile.ZipFile(first[1]) as package:
        assert {entry.date_time for entry in package.infolist()} == {(1980, 1, 2, 0, 0, 0)}


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
    assert "Kd 1 1 1" in library
    assert (
        np.asarray(Image.open(tmp_path / "model.png").convert("RGB"))[:, :, 0] == CHECKER[..., 0].mul(255).round().numpy()
    ).all()
    loaded = trimesh.load(paths[0], process=False, force="mesh")
    corners = np.asarray(loaded.vertices)[loaded.faces]
    assert corners == pytest.approx(to_y_up(mesh.vertices)[mesh.faces].numpy(), abs=1e-6)
    assert np.asarray(loaded.visual.uv)[loaded.faces] == pytest.approx(mesh.uv[mesh.faces].numpy(), abs=1e-6)


def test_obj_shares_positions_across_seams(tmp_path):
    """A closed surface stays closed: each position once, each corner with its own uv."""
    mesh = textured(ball(16))
    elements = [line.split() for line in write("obj", tmp_path, mesh)[0].read_text().splitlines()]
    positions = [element for element in elements if element[0] == "v"]
    faces = torch.tensor([[int(corner.split("/")[0]) - 1 for corner in element[1:]] for element in elements if element[0] == "f"])
    assert len(positions) == len(torch.unique(mesh.vertices, dim=0)) < len(mesh.vertices)
    assert is_watertight(Mesh(torch.zeros(len(positions), 3), faces))
    assert sum(element[0] == "vt" for element in elements) == len(torch.unique(mesh.uv, dim=0))


def test_obj_has_every_texture_and_its_normals_can_be_those_of_directx(tmp_path):
    texture = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    mesh = replace(textured(CUBE), textures={"base_color": texture, "metallic_roughness": texture, "normal": texture})
    for directx in (False, True):
        folder = tmp_path / str(directx)
        write("obj", folder, mesh, directx=directx)
        library = dict(line.split() for line in Path(folder, "model.mtl").read_text().splitlines() if line.count(" ") == 1)
        assert library["Pr"] == library["Pm"] == "1"
        for key, channel in (("map_Pr", 1), ("map_Pm", 2)):
            assert np.array_equal(picture(folder / library[key]), texture[..., channel].mul(255).round())
        green = picture(folder / library["norm"])[..., 1]
        assert np.array_equal(255 - green if directx else green, texture[..., 1].mul(255).round())


def test_directx_normals_lie_beside_a_glb_whose_own_stay(tmp_path):
    texture = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    mesh = replace(textured(CUBE), textures={"base_color": texture, "normal": texture})
    paths = write_mesh(mesh, tmp_path, ["glb"], FileOptions(directx=True))
    assert [path.name for path in paths] == ["model.glb", "model_normal.png"]
    assert torch.equal(load_glb(paths[0]).textures["normal"], texture)
    assert np.array_equal(255 - picture(paths[1])[..., 1], texture[..., 1].mul(255).round())


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_ply_vertices_keep_their_colours_and_normals(tmp_path):
    loaded = trimesh.load(write("ply", tmp_path)[0], process=False)
    points = from_z_up(torch.from_numpy(np.array(loaded.vertices, np.float32)))
    assert loaded.visual.vertex_colors[:, :3] == pytest.approx((points * 0.5 + 0.5).numpy() * 255, abs=0.51)
    read = loaded.metadata["_ply_raw"]["vertex"]["data"]
    normals = np.stack([read[name] for name in ("nx", "ny", "nz")], 1)
    assert normals == pytest.approx(np.array(loaded.vertices) / np.linalg.norm(loaded.vertices, axis=1, keepdims=True), abs=0.15)


def test_a_failure_leaves_the_old_files_and_no_rest(tmp_path, monkeypatch):
    mesh, other = textured(ball(16)), textured(CUBE)
    paths = write_mesh(mesh, tmp_path, list(ENCODERS))
    before = {path: path.read_bytes() for path in paths}
    assert len(before) == 8

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


@pytest.mark.parametrize("name", ["glb", "obj", "ply", "stl"])
def test_an_exported_file_faces_the_front_when_it_is_read_as_an_asset(name, tmp_path):
    """Whatever the file's axes are."""
    mesh = brick()
    asset = read_asset(write(name, tmp_path, mesh)[0], 1.0)
    points = torch.cat([part.mesh.vertices for part in asset.parts])
    size = points.amax(0) - points.amin(0)
    assert (size / size.max()).tolist() == pytest.approx([1, 1 / 3, 2 / 3], abs=1e-5)


def test_a_ply_becomes_a_glb_that_faces_the_front(tmp_path):
    """A triangle with corners in front, on the left and on top, in red, green and blue."""
    front = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), normals=torch.eye(3), colors=torch.eye(3))
    container = plain_container(write_mesh(front, tmp_path, ["ply"])[0])
    attributes = container.tree["meshes"][0]["primitives"][0]["attributes"]
    positions, colors = (torch.from_numpy(read_floats(container, attributes[name])) for name in ("POSITION", "COLOR_0"))
    assert torch.equal(positions[colors[:, :3].argmax(0)], to_y_up(torch.eye(3)))
