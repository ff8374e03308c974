"""The fixed scene is what the docs say, and its candidates do what they say."""

from __future__ import annotations

from math import radians

import pytest
import torch

from threefusion.camera.projection import camera_rays
from threefusion.perf.scene import BALL, CELLS, GRID, RADIUS, STEPS, fixed_scene, fixed_views, march_steps
from threefusion.renderer.sampler.sampler import ball_interval

CPU = torch.device("cpu")


def test_the_camera() -> None:
    camera = fixed_views(4, 64, CPU).camera
    assert torch.allclose(camera.position.norm(dim=-1), torch.full((4,), 3.2))
    assert torch.allclose(camera.position[0, 0], camera.position[0, 1])
    assert camera.elevation.tolist() == pytest.approx([radians(20)] * 4)
    assert (camera.azimuth.sort().values.diff() - torch.pi / 2).abs().max() < 1e-6


def test_samples_fill_the_ball_and_nothing_else() -> None:
    (scene, renderer), views = fixed_scene(CPU), fixed_views(1, 64, CPU)
    rays = camera_rays(views.camera)
    samples = renderer.sampler(scene.geometry.radius, rays, views, True)
    points = rays.origins[samples.ray_index] + rays.directions[samples.ray_index] * samples.t_mid[:, None]
    half_diagonal = 3**0.5 * RADIUS / CELLS
    assert points.norm(dim=-1).max() < BALL + half_diagonal
    # chords through the ball over the length of a step, up to what the cells cut off or add
    near, far = ball_interval(rays, BALL, views.camera.near)
    expected = (far - near).sum() / (2 * RADIUS / STEPS)
    assert len(samples.t_start) == pytest.approx(float(expected), rel=0.02)
    whole_near, whole_far = ball_interval(rays, RADIUS, views.camera.near)
    assert march_steps(views) == pytest.approx(float((whole_far - whole_near).sum() * STEPS / (2 * RADIUS)), abs=1)


def test_the_same_scene_every_time() -> None:
    first, second = (dict(fixed_scene(CPU)[0].named_parameters()) for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert first["geometry.encoding.table"].shape == (GRID.rows, GRID.features)
    network = [tuple(value.shape) for name, value in first.items() if "network" in name and "weight" in name]
    assert network == [(64, 32), (4, 64)]
