"""The mesh exporter on signed distance fields, and the coarse-to-fine grid against the dense one."""

import pytest
import torch
from analytic_scenes import AnalyticMaterial, Magenta, Marcher, box, octant_color, sphere
from test_mesh_exporter import SMALL

from threefusion.errors import UserError
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.topology import is_watertight, signed_volume
from threefusion.geometry.distance_grid import distance_surface, sample_distance, sample_distance_sparse
from threefusion.geometry.geometry import HasDistance
from threefusion.types import FieldSample, Scene


class AnalyticDistance(HasDistance):
    """Signed distance by a formula; the points themselves are the features."""

    def __init__(self, distance, radius=1.0):
        super().__init__()
        self.formula, self.radius = distance, radius

    def distance(self, points):
        return self.formula(points)

    def features(self, points):
        return points

    def forward(self, points, normals, covariance=None):
        # the density only serves the plain ray march that stands for a renderer
        density = 500 * torch.sigmoid(-self.formula(points) / 0.005)
        return FieldSample(points, density=density, points=points)


class DistanceMarcher(Marcher):
    needs = HasDistance


def export(distance, folder, radius=1.0, **settings):
    scene = Scene(AnalyticDistance(distance, radius), AnalyticMaterial(octant_color), Magenta())
    return MeshExporter(MeshExporterConfig(**SMALL | settings)).export(scene, DistanceMarcher(), folder)


def bumpy(points):
    return sphere(0.5)(points) + 0.05 * torch.sin(9 * points).prod(-1, keepdim=True)


FIELDS = {
    "ball": sphere(0.5),
    "bumps": bumpy,
    # far thinner than a coarse cell of 0.05: no coarse sample is inside it
    "sheet": lambda points: box(0.6, 0.5, 0.011)(points - 0.01),
    "steep": lambda points: 1.2 * bumpy(points),
    "flat": lambda points: 0.1 * bumpy(points),
    "beyond the ball": sphere(1.2),
    "cut by the ball": lambda points: sphere(0.8)(points - 0.3),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("resolution", [40, 121])
def test_the_sparse_surface_is_the_dense_one(name, resolution):
    dense = sample_distance(FIELDS[name], 1.0, resolution)
    sparse = sample_distance_sparse(FIELDS[name], 1.0, resolution)
    expected, surface = distance_surface(dense), distance_surface(sparse)
    assert torch.equal(surface.vertices, expected.vertices) and torch.equal(surface.faces, expected.faces)
    if len(expected.faces):
        assert is_watertight(surface) and signed_volume(surface) > 0
    if resolution == 121 and name != "flat":
        assert len(expected.faces) > 0
        assert sparse.evaluations < 0.45 * dense.evaluations


def test_evaluations_fall_to_a_third():
    resolution = 193
    dense, sparse = (sample(bumpy, 1.0, resolution) for sample in (sample_distance, sample_distance_sparse))
    assert sparse.evaluations < dense.evaluations / 3


def test_a_ball_keeps_its_size_and_its_colours(tmp_path):
    exported = export(sphere(0.6), tmp_path)
    assert signed_volume(exported.mesh) == pytest.approx(4 / 3 * torch.pi * 0.6**3, rel=0.01)
    report = exported.report
    assert report["watertight"] and report["silhouette_iou"] > 0.93 and report["albedo_psnr"] > 30
    assert 0 < report["distance_evaluations"] < 64**3 and "level" not in report


def test_dense_and_sparse_exports_are_the_same_file(tmp_path):
    sparse, dense = export(bumpy, tmp_path / "a"), export(bumpy, tmp_path / "b", sparse=False)
    assert sparse.paths[0].read_bytes() == dense.paths[0].read_bytes()
    assert sparse.report["distance_evaluations"] < dense.report["distance_evaluations"]


def test_a_scene_of_another_size(tmp_path):
    exported = export(lambda points: sphere(3.0)(points), tmp_path, radius=5.0)
    assert exported.mesh.vertices.norm(dim=-1).mean() == pytest.approx(3.0, rel=0.01)


def test_faces_are_limited_and_floaters_dropped(tmp_path):
    def two(points):
        return torch.minimum(bumpy(points), sphere(0.1)(points - torch.tensor([0.0, 0.0, 0.8])))

    exported = export(two, tmp_path, max_faces=1000)
    assert exported.report["faces"] <= 1000 and exported.report["watertight"]
    assert exported.mesh.vertices[:, 2].max() < 0.7 and exported.report["dropped_volume"] > 0


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (lambda points: torch.ones_like(points[:, :1]), "positive everywhere"),
        (lambda points: points[:, :1] / 0, "not finite"),
    ],
)
def test_an_empty_or_diverged_field_gets_a_sentence_and_no_file(distance, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        export(distance, tmp_path / "mesh")
    assert "\n" not in str(error.value) and not (tmp_path / "mesh").exists()
