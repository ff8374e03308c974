"""The surface of a density: position, closedness, and the level that matches what a renderer shows."""

from math import log, pi

import pytest
import torch
from analytic_scenes import Marcher, box, make_scene, octant_color, soft, sphere

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import camera_rays, clip_coordinates
from threefusion.errors import UserError
from threefusion.exporter.fidelity import field_views
from threefusion.exporter.topology import components, is_watertight, signed_volume
from threefusion.geometry.isosurface import (
    RAISE,
    best_level,
    highest_density,
    least_level,
    marching_cubes,
    refine_density,
    sample_density,
)
from threefusion.ops.rasterize import rasterize


def silhouette(mesh, cameras):
    clip = clip_coordinates(mesh.vertices, cameras)
    return rasterize(clip, mesh.faces, cameras.height, cameras.width).face >= 0


def test_sphere_has_its_area_and_volume():
    mesh = marching_cubes(sample_density(soft(sphere(0.6)), 1.0, 64), 100.0)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1).sum()
    assert is_watertight(mesh)
    assert signed_volume(mesh) == pytest.approx(4 / 3 * pi * 0.6**3, rel=0.02)
    assert area == pytest.approx(4 * pi * 0.6**2, rel=0.02)


def test_box_lies_along_its_axes():
    mesh = marching_cubes(sample_density(soft(box(0.6, 0.3, 0.45)), 1.0, 64), 100.0)
    assert mesh.vertices.amax(0).tolist() == pytest.approx([0.6, 0.3, 0.45], abs=0.005)
    assert signed_volume(mesh) == pytest.approx(1.2 * 0.6 * 0.9, rel=0.02)


def test_a_field_that_leaves_the_ball_is_closed_by_it():
    mesh = marching_cubes(sample_density(lambda points: torch.full_like(points[:, :1], 50.0), 1.0, 48), 10.0)
    assert is_watertight(mesh)
    assert signed_volume(mesh) == pytest.approx(4 / 3 * pi, rel=0.06)
    assert mesh.vertices.norm(dim=-1).max() <= 1.0 + 2 / 47


def test_samples_on_the_level_leave_no_two_vertices_at_one_place():
    # a lattice plane lies exactly on the level: without a nudge all its vertices would coincide in pairs
    mesh = marching_cubes(sample_density(soft(box(0.5, 0.5, 0.5)), 1.0, 33), 100.0)
    assert len(torch.unique(mesh.vertices, dim=0)) == len(mesh.vertices)
    assert is_watertight(mesh)


def test_refined_grid_gives_the_surface_of_the_dense_one():
    density = soft(box(0.6, 0.3, 0.45))
    dense = sample_density(density, 1.0, 97)
    refined = refine_density(density, sample_density(density, 1.0, 33), 97, 20.0, 200.0)
    assert refined.evaluations < 0.6 * dense.evaluations
    for level in (25.0, 100.0, 180.0):
        expected, found = marching_cubes(dense, level), marching_cubes(refined, level)
        assert torch.equal(expected.vertices, found.vertices)
        assert torch.equal(expected.faces, found.faces)


def test_highest_density_along_rays_is_the_silhouette_of_every_level():
    grid = sample_density(soft(box(0.6, 0.3, 0.45), width=0.1), 1.0, 64)
    cameras = views_around(1.0, 3, 64).camera
    highest = highest_density(grid, camera_rays(cameras)).view(3, 64, 64)
    for level in (1.0, 20.0, 120.0):
        slow = silhouette(marching_cubes(grid, level), cameras)
        assert ((highest > log(level)) == slow).float().mean() > 0.99


def test_level_is_the_best_of_a_slow_search():
    """Against marching and rasterising at many levels, which is what the walk along rays replaces."""
    scene = make_scene(soft(sphere(0.5), density=60.0, width=0.08), octant_color)
    views = field_views(Marcher(), scene, views_around(1.0, 3, 64))
    grid = sample_density(scene.geometry.density, 1.0, 64)
    seen = views.mask[..., 0]
    level, overlap = best_level(highest_density(grid, camera_rays(views.batch.camera)), seen.flatten(), least_level(1.0))
    slow = []
    for factor in (0.4, 0.7, 1.0, 1.4, 2.5):
        shown = silhouette(marching_cubes(grid, level * factor), views.batch.camera)
        slow.append(float((shown & seen).sum() / (shown | seen).sum()))
    assert slow[2] == pytest.approx(overlap, abs=0.01)
    assert slow[2] >= max(slow) - 0.005
    assert slow[2] > 0.97


@pytest.mark.parametrize("width", [0.01, 0.05])
def test_level_recovers_the_radius_at_which_rays_are_half_absorbed(width):
    scene = make_scene(soft(sphere(0.5), density=100.0, width=width), octant_color)
    views = field_views(Marcher(), scene, views_around(1.0, 2, 96))
    grid = sample_density(scene.geometry.density, 1.0, 64)
    level, _ = best_level(highest_density(grid, camera_rays(views.batch.camera)), views.mask.flatten(), least_level(1.0))
    mesh = marching_cubes(grid, level)
    # the absorbed disc of a sphere in perspective, measured on the picture itself: tan(angle) from its area
    pixel = 2 * torch.tan(views.batch.camera.fovy[0] / 2) / 96
    share = views.mask.float().sum() / 2 * pixel**2
    seen_radius = 3 * torch.sin(torch.atan(torch.sqrt(share / pi)))
    assert mesh.vertices.norm(dim=-1).mean() == pytest.approx(float(seen_radius), rel=0.02)


def test_no_level_below_what_can_be_half_absorbed_is_chosen():
    """The bound is reached by a uniform ball: a ray through its middle is half absorbed at exactly this density."""
    density = least_level(2.0)
    assert 1 - torch.exp(torch.tensor(-density * 4.0)) == pytest.approx(0.5)
    level, overlap = best_level(torch.full((10,), -20.0), torch.ones(10, dtype=torch.bool), density)
    assert (level, overlap) == (pytest.approx(density), 0.0)


def test_two_bodies_and_a_cavity_are_told_apart():
    def shell_and_ball(points):
        return torch.minimum(sphere(0.45)(points + 0.2).abs() - 0.12, sphere(0.15)(points - 0.45))

    parts = components(marching_cubes(sample_density(soft(shell_and_ball), 1.0, 64), 100.0))
    volumes = [signed_volume(part) for part in parts]
    assert len(parts) == 3
    assert volumes[0] == pytest.approx(4 / 3 * pi * 0.57**3, rel=0.03)
    assert volumes[1] == pytest.approx(4 / 3 * pi * 0.15**3, rel=0.08)
    assert volumes[2] == pytest.approx(-4 / 3 * pi * 0.33**3, rel=0.08)


def test_a_diverged_field_is_refused():
    with pytest.raises(UserError, match="not finite"):
        sample_density(lambda points: points[:, :1] / 0, 1.0, 16)


def test_level_is_raised_above_the_best_by_a_bounded_ratio():
    """From the middle of the levels between 1 and 100, all of which are perfect."""
    level, overlap = best_level(torch.tensor([100.0, 0.1]).log(), torch.tensor([True, False]), 1.0)
    assert (level, overlap) == (pytest.approx(10 * RAISE, rel=0.04), 1.0)


def test_level_is_raised_as_long_as_silhouettes_match_nearly_as_well():
    """Of 1000 rays that are seen 3 are lost above a density of 11, and 3 more above 12, where the tolerance ends."""
    highest = torch.tensor([11.0] * 3 + [12.0] * 3 + [100.0] * 994 + [9.9] * 500).log()
    level, overlap = best_level(highest, torch.arange(1500) < 1000, 1.0)
    assert 11.5 < level < 12
    assert overlap == pytest.approx(0.997)
