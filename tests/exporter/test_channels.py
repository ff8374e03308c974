"""Textures beside the base colour, and vertex colours in place of textures."""

import json

import numpy as np
import pytest
import torch
import trimesh
from analytic_scenes import AnalyticMaterial, Magenta, box, octant_color, sphere
from test_distance_export import AnalyticDistance, DistanceMarcher
from test_mesh_exporter import SMALL
from torch.nn.functional import normalize

from threefusion.asset.accessors import read_floats
from threefusion.asset.container import open_container
from threefusion.camera.orbit import views_around
from threefusion.exporter.axes import from_y_up, from_z_up
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.ops.color import decode_srgb
from threefusion.types import Scene


class Metal(AnalyticMaterial):
    """Rough below, metallic in front, and normals that lean up."""

    def textures(self, sample):
        made = super().textures(sample)
        if sample.normal is None:
            return made
        points, one = sample.points, torch.ones_like(sample.points[:, :1])
        roughness, metallic = 0.5 - 0.4 * torch.tanh(3 * points[:, 2:]), 0.5 + 0.4 * torch.tanh(3 * points[:, :1])
        lean = normalize(sample.normal + torch.tensor([0.0, 0, 0.3]), dim=-1)
        packed = torch.cat([one, roughness, metallic], -1)
        return made | {"metallic_roughness": packed, "normal": lean}


BOX = box(0.5, 0.4, 0.3)


def export(folder, material=Metal, distance=BOX, **settings):
    scene = Scene(AnalyticDistance(distance), material(octant_color), Magenta())
    return MeshExporter(MeshExporterConfig(**SMALL | settings)).export(scene, DistanceMarcher(), folder)


def tree_of(path):
    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def at_vertices(mesh, name):
    """A texture at the vertices, nearest."""
    size = mesh.textures[name].shape[0]
    column, row = (mesh.uv[:, 0] * size).long().clamp(0, size - 1), ((1 - mesh.uv[:, 1]) * size).long().clamp(0, size - 1)
    return mesh.textures[name][row, column]


def test_roughness_is_green_and_metallic_is_blue(tmp_path):
    mesh = load_glb(export(tmp_path).paths[0])
    assert set(mesh.textures) == {"base_color", "metallic_roughness", "normal"}
    occlusion, roughness, metallic = at_vertices(mesh, "metallic_roughness").unbind(-1)
    assert (occlusion == 1).all()
    assert (roughness - (0.5 - 0.4 * torch.tanh(3 * mesh.vertices[:, 2]))).abs().mean() < 0.02
    assert (metallic - (0.5 + 0.4 * torch.tanh(3 * mesh.vertices[:, 0]))).abs().mean() < 0.02
    (material,) = tree_of(tmp_path / "model.glb")["materials"]
    described = material["pbrMetallicRoughness"]
    # the factors multiply the texture
    assert described.get("metallicFactor", 1.0) == described.get("roughnessFactor", 1.0) == 1.0
    assert "metallicRoughnessTexture" in described and "normalTexture" in material


def test_a_material_s_normals_can_be_left_out(tmp_path):
    mesh = load_glb(export(tmp_path, normal_map=False).paths[0])
    assert set(mesh.textures) == {"base_color", "metallic_roughness"}


def test_vertex_colours_are_linear_in_the_file_and_srgb_when_read(tmp_path):
    exported = export(tmp_path, AnalyticMaterial, texture="vertex", formats=["obj", "ply"], color_views=0)
    mesh = load_glb(exported.paths[0])
    assert mesh.uv is None and mesh.textures is None and len(mesh.vertices) == exported.report["vertices"]
    assert torch.allclose(mesh.colors, octant_color(mesh.vertices), atol=1e-3)
    (primitive,) = tree_of(exported.paths[0])["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "COLOR_0"}
    index = primitive["attributes"]["COLOR_0"]
    assert tree_of(exported.paths[0])["accessors"][index]["componentType"] == 5126
    colors = torch.from_numpy(read_floats(open_container(exported.paths[0]), index))
    assert torch.allclose(colors, decode_srgb(octant_color(mesh.vertices)), atol=1e-3)
    assert [path.name for path in exported.paths] == ["model.glb", "model.obj", "model.ply"]
    for path in exported.paths[1:]:
        surface = trimesh.load(path, process=False)
        points = torch.from_numpy(np.array(surface.vertices, np.float32))
        points = from_z_up(points) if path.suffix == ".ply" else from_y_up(points)
        assert surface.visual.vertex_colors[:, :3] == pytest.approx(255 * octant_color(points).numpy(), abs=1)


def test_vertex_colours_show_the_same_picture(tmp_path):
    image = export(tmp_path / "a", AnalyticMaterial)
    vertex = export(tmp_path / "b", AnalyticMaterial, texture="vertex")
    cameras = views_around(1.0, 4, 64).camera
    seen = [rasterised_views(load_glb(exported.paths[0]), cameras) for exported in (image, vertex)]
    assert torch.equal(seen[0].mask, seen[1].mask)
    assert (seen[0].base_color - seen[1].base_color).abs().max() < 0.05
    assert vertex.report["albedo_psnr"] == pytest.approx(image.report["albedo_psnr"], abs=1)


def test_metallic_and_roughness_of_a_mesh_without_uv_are_their_means(tmp_path):
    export(tmp_path, distance=sphere(0.5), texture="vertex")
    (material,) = tree_of(tmp_path / "model.glb")["materials"]
    described = material["pbrMetallicRoughness"]
    assert described["metallicFactor"] == pytest.approx(0.5, abs=0.02)
    assert described["roughnessFactor"] == pytest.approx(0.5, abs=0.02)
