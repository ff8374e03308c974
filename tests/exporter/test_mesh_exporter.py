"""The whole exporter on scenes whose surface and colours are known."""

import json
from math import pi

import numpy as np
import pytest
import torch
import trimesh
from analytic_scenes import Marcher, box, make_scene, octant_color, soft, sphere

from threefusion.camera.orbit import views_around
from threefusion.errors import UserError
from threefusion.exporter import surface
from threefusion.exporter.fidelity import field_views
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.topology import is_watertight, signed_volume, weld
from threefusion.types import Scene

SMALL = {"resolution": 64, "texture_size": 128, "max_faces": 4000, "views": 4, "view_size": 40}


def export(scene, folder, **settings):
    exported = MeshExporter(MeshExporterConfig(**SMALL | settings)).export(scene, Marcher(), folder)
    return exported.paths, exported.report


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A box, longer in front than on the side, in a soft field, with the mesh read from the file."""
    scene = make_scene(soft(box(0.6, 0.3, 0.45), width=0.01), octant_color)
    folder = tmp_path_factory.mktemp("box")
    paths, report = export(scene, folder, formats=["stl", "ply", "obj"])
    return scene, paths, report, load_glb(paths[0])


def test_glb_comes_first_and_every_format_is_there(exported):
    _, paths, _, _ = exported
    assert [path.name for path in paths[:4]] == ["model.glb", "model.stl", "model.ply", "model.obj"]
    assert {path.name for path in paths[4:]} == {"model.mtl", "model.png"}
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    for path in paths[:4]:
        # STL is in millimetres, and its largest side is 100 mm
        unit = 100 / 1.26 if path.suffix == ".stl" else 1
        assert trimesh.load(path, force="mesh").volume == pytest.approx(8 * 0.63 * 0.33 * 0.48 * unit**3, rel=0.1)


def test_file_welds_to_one_closed_outward_component(exported):
    *_, mesh = exported
    welded = weld(mesh)
    surface = trimesh.Trimesh(welded.vertices.numpy(), welded.faces.numpy(), process=False)
    assert surface.is_watertight
    assert surface.is_winding_consistent
    assert surface.body_count == 1
    assert is_watertight(welded)
    assert signed_volume(welded) > 0
    assert len(mesh.faces) <= SMALL["max_faces"]


def test_front_of_the_file_is_plus_z(exported):
    _, paths, _, _ = exported
    scene = trimesh.load(paths[0], process=False)
    ratio = scene.extents / np.array([0.3, 0.45, 0.6])
    assert ratio == pytest.approx(ratio.mean(), rel=0.06)


def test_report_is_json_and_the_mesh_looks_like_the_field(exported):
    report = exported[2]
    assert json.loads(json.dumps(report)) == report
    assert report["silhouette_iou"] > 0.95
    assert report["albedo_psnr"] > 30
    assert report["watertight"] is True
    assert report["dropped_volume"] == pytest.approx(0, abs=1e-6)


def test_colours_of_the_file_are_those_of_the_field(exported):
    """Read from the file and seen from above and below, where no view of the report looked."""
    scene, _, _, mesh = exported
    for elevation in (75.0, -60.0):
        ring = views_around(1.0, 2, 64, elevations=(elevation,))
        truth, shown = field_views(Marcher(), scene, ring), rasterised_views(mesh, ring.camera)
        both = (truth.mask & (shown.mask > 0)).expand_as(truth.albedo)
        assert (truth.albedo - shown.base_color)[both].abs().mean() < 0.02


def test_a_hard_ball_keeps_its_radius(tmp_path):
    scene = make_scene(soft(sphere(0.6), density=500.0, width=0.002), octant_color)
    paths, _ = export(scene, tmp_path)
    assert signed_volume(weld(load_glb(paths[0]))) == pytest.approx(4 / 3 * pi * 0.6**3, rel=0.04)


def test_a_scene_of_another_size_is_the_same_picture(tmp_path):
    scene = make_scene(soft(sphere(3.0), density=50.0, width=0.02), lambda points: octant_color(points / 5), radius=5.0)
    paths, report = export(scene, tmp_path)
    assert load_glb(paths[0]).vertices.norm(dim=-1).mean() == pytest.approx(3.1, rel=0.04)
    assert report["silhouette_iou"] > 0.95


def test_dense_and_sparse_walks_agree(tmp_path):
    scene = make_scene(soft(box(0.6, 0.3, 0.45)), octant_color)
    (_, sparse), (_, dense) = export(scene, tmp_path), export(scene, tmp_path, sparse=False)
    assert sparse["density_evaluations"] < dense["density_evaluations"]
    assert sparse["level"] == pytest.approx(dense["level"], rel=0.02)
    assert sparse["faces"] == dense["faces"]


def test_a_body_aside_is_kept_or_dropped_by_its_size_and_reported(tmp_path, heard):
    def two(points):
        return torch.minimum(sphere(0.4)(points + 0.25), sphere(0.25)(points - 0.45))

    scene = make_scene(soft(two, width=0.005), octant_color)
    paths, report = export(scene, tmp_path / "whole")
    assert report["dropped_volume"] == pytest.approx(0, abs=1e-6) and report["watertight"]
    assert trimesh.load(paths[0], force="mesh").bounds[1].min() > 0.6
    paths, report = export(scene, tmp_path, smallest_part=0.3)
    assert trimesh.load(paths[0], force="mesh").center_mass == pytest.approx([-0.25] * 3, abs=0.02)
    assert report["dropped_volume"] == pytest.approx(0.25**3 / (0.25**3 + 0.4**3), rel=0.15)
    assert "in small parts apart from the largest one" in str(heard)


@pytest.mark.parametrize("density", [0.0, 0.05])
def test_an_empty_scene_gets_a_sentence_and_no_file(density, tmp_path):
    scene = make_scene(lambda points: torch.full_like(points[:, :1], density), octant_color)
    with pytest.raises(UserError) as error:
        export(scene, tmp_path / "mesh")
    assert "the scene is empty" in str(error.value)
    assert "loss.sparsity.weight" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "mesh").exists()


def test_a_level_above_every_density_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match="highest density"):
        export(make_scene(soft(sphere(0.5)), octant_color), tmp_path, level=1e6)


def test_a_scene_without_a_surface_gets_a_sentence(tmp_path):
    empty = torch.nn.Module()
    with pytest.raises(UserError, match="no density, distance or surface"):
        export(Scene(empty, empty, empty), tmp_path)


def test_the_sparse_grid_is_refined_round_the_final_level(tmp_path, monkeypatch):
    """The level from the coarse grid is off by more than 5 % here: the band round it still has to hold the final one."""
    bands = []
    refine = surface.refine_density
    monkeypatch.setattr(surface, "refine_density", lambda *given: bands.append(given[3:]) or refine(*given))
    scene = make_scene(soft(box(0.62, 0.05, 0.4), density=60.0, width=0.03), octant_color)
    level = export(scene, tmp_path)[1]["level"]
    ((low, high),) = bands
    assert not 1 / 1.05 < level / (low * high) ** 0.5 < 1.05
    assert 1.2 * low < level < high / 1.2


def test_the_same_scene_gives_the_same_file(tmp_path):
    scene = make_scene(soft(sphere(0.5)), octant_color)
    first, second = export(scene, tmp_path / "a")[0][0], export(scene, tmp_path / "b")[0][0]
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": []}, "formats: expected at least one"),
        ({"resolution": 8}, r"resolution: expected a value in \[16, 1024\]"),
        ({"level": -1.0}, r"level: expected a value in \(0, "),
        ({"texture_size": 10_000}, r"texture_size: expected a value in \[64, 8192\]"),
        ({"unwrap_seconds": 0.0}, r"unwrap_seconds: expected a value in \(0, "),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MeshExporterConfig(**settings)
