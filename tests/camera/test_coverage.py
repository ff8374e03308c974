"""Plans of views that see a whole surface, concavities included."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from threefusion.camera.coverage import candidate_directions, greedy_cover, visible
from threefusion.camera.projection import sphere_position
from threefusion.camera.settings import CoverageConfig, OrbitalConfig
from threefusion.config import ConfigError, load_config
from threefusion.registry import build
from threefusion.testing.samples import small_ball
from threefusion.types import Mesh


def cup():
    """A box without its top, and points near the middles of its sides: five outside, then five inside."""
    corner = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4]])
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    middle = corner[quads].mean(1)
    normals = normalize(middle, dim=-1)
    return Mesh(corner, faces), torch.cat([middle * 1.2, middle * 0.8]), torch.cat([normals, -normals])


def test_candidates_lie_evenly_on_the_sphere():
    azimuth, elevation = candidate_directions(64).unbind(-1)
    points = sphere_position(azimuth, elevation, torch.ones(64))
    assert points.mean(0).norm() < 0.03
    nearest = (points @ points.T - 2 * torch.eye(64)).amax(1).acos()
    assert nearest.min() > 0.25 and nearest.max() < 0.5


def test_hidden_points_are_seen_from_where_nothing_is_in_front():
    mesh, points, normals = cup()
    above, below = torch.tensor([[0.0, 1.5]]), torch.tensor([[0.0, -1.5]])
    # the bottom is seen from inside from above, from outside from below
    assert visible(mesh, points, normals, above)[0, 9] and not visible(mesh, points, normals, above)[0, 4]
    assert visible(mesh, points, normals, below)[0, 4] and not visible(mesh, points, normals, below)[0, 9]
    level = visible(mesh, points, normals, torch.tensor([[0.0, 0.0]]))[0]
    assert level[1] and not level[5:].any()


def test_a_greedy_cover_takes_the_best_first_and_stops():
    seen = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0]]).bool()
    assert greedy_cover(seen).tolist() == [1, 0]
    assert greedy_cover(torch.zeros(3, 4).bool()).tolist() == [] == greedy_cover(torch.zeros(0, 4).bool()).tolist()


def test_a_plan_sees_all_that_any_candidate_sees():
    mesh, points, normals = cup()
    camera = build(CoverageConfig(candidates=48))
    camera.plan(mesh, points, normals, torch.tensor(0.25))
    assert len(camera.planned) < 12
    seen = visible(mesh, points, normals, camera.planned - torch.tensor([0.25, 0.0]))
    assert torch.equal(seen.any(0), visible(mesh, points, normals, candidate_directions(48)).any(0)) and seen.any(0).sum() >= 9


def test_a_share_of_the_views_is_planned_and_the_others_are_orbital():
    camera, plain = build(CoverageConfig(planned_fraction=0.5, planned_jitter_deg=0.0)), build(OrbitalConfig())
    index = torch.arange(64)
    assert torch.equal(camera.sample(3, 0, index).camera.c2w, plain.sample(3, 0, index).camera.c2w)
    ball = small_ball()
    camera.plan(ball, ball.vertices, normalize(ball.vertices, dim=-1), torch.zeros(()))
    views = camera.sample(3, 0, index).camera
    plan = {round(float(height), 4) for height in camera.planned[:, 1]}
    planned = torch.tensor([round(float(height), 4) in plan for height in views.elevation])
    assert 0.3 < planned.float().mean() < 0.7
    assert torch.equal(views.c2w[~planned], plain.sample(3, 0, index).camera.c2w[~planned])
    assert torch.equal(camera.sample(3, 0, index[10:12]).camera.c2w, views.c2w[10:12])


def test_a_camera_that_plans_needs_a_surface():
    with pytest.raises(ConfigError, match="the camera 'coverage' needs a geometry that gives surface"):
        load_config(Path("quickstart"), ["camera.type=coverage"])
