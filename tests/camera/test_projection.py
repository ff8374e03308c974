from math import pi

import torch

from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays, clip_coordinates, look_at, sphere_position, world_to_clip, wrap_angle
from threefusion.types import Shading


def views(count=5, height=6, width=8):
    return orbit_views(count, elevation=0.4, distance=2.0, fovy=0.8, height=height, width=width)


def test_azimuth_zero_looks_from_the_front_and_sees_y_to_the_right():
    camera = views(4).camera
    assert torch.allclose(camera.position[0], 2 * torch.tensor([torch.tensor(0.4).cos(), 0.0, torch.tensor(0.4).sin()]))
    assert torch.allclose(camera.c2w[0, :3, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)
    assert torch.allclose(camera.azimuth, torch.tensor([0.0, pi / 2, pi, -pi / 2]), atol=1e-6)
    assert (camera.azimuth <= torch.tensor(pi)).all()


def test_poses_are_rotations():
    rotation = views().camera.c2w[:, :3, :3]
    assert torch.allclose(rotation.transpose(1, 2) @ rotation, torch.eye(3).expand(5, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(5))


def test_pose_is_continuous_through_the_zenith():
    heights = torch.tensor([pi / 2 - 1e-3, pi / 2])
    position = sphere_position(torch.zeros(2), heights, torch.ones(2))
    near, top = look_at(position, torch.zeros(2, 3))
    assert torch.allclose(near, top, atol=2e-3)


def test_every_point_of_a_ray_projects_to_its_pixel():
    camera = views().camera
    rays = camera_rays(camera)
    points = rays.origins + rays.directions * torch.rand(len(rays.origins), 1).add(0.5)
    clip = torch.einsum("rij,rj->ri", world_to_clip(camera)[rays.view_index], torch.cat([points, torch.ones(len(points), 1)], -1))
    ndc = clip[:, :2] / clip[:, 3:]
    column = ((ndc[:, 0] + 1) * camera.width / 2 - 0.5).reshape(5, 6, 8)
    row = ((1 - ndc[:, 1]) * camera.height / 2 - 0.5).reshape(5, 6, 8)
    assert torch.allclose(column, torch.arange(8.0).expand(5, 6, 8), atol=1e-4)
    assert torch.allclose(row, torch.arange(6.0)[:, None].expand(5, 6, 8), atol=1e-4)


def test_depth_runs_from_minus_one_at_near_to_one_at_far():
    camera = views(1).camera
    forward = -camera.c2w[0, :3, 2]
    ends = camera.position[0] + forward * torch.tensor([[camera.near], [camera.far]])
    clip = clip_coordinates(ends, camera)[0]
    assert torch.allclose(clip[:, 2] / clip[:, 3], torch.tensor([-1.0, 1.0]), atol=1e-4)


def test_cone_radius_matches_the_distance_between_neighbouring_pixels():
    rays = camera_rays(views(1, height=64, width=64).camera)
    at_plane = rays.directions.reshape(64, 64, 3)
    gap = (at_plane[32, 32] - at_plane[32, 33]).norm()
    assert abs(rays.radii.reshape(64, 64)[32, 32] / gap * 12**0.5 / 2 - 1) < 1e-3
    assert torch.allclose(rays.directions.norm(dim=-1), torch.ones(4096))


def test_angles_are_wrapped_into_the_half_open_circle():
    angles = torch.tensor([0.0, pi, -pi, 3 * pi / 2, -7.0], dtype=torch.float64)
    wrapped = wrap_angle(angles)
    assert torch.allclose(wrapped.sin(), angles.sin(), atol=1e-6)
    assert torch.allclose(wrapped.cos(), angles.cos(), atol=1e-6)
    assert ((wrapped > -pi) & (wrapped <= pi)).all()


def test_orbiting_light_moves_against_the_camera_and_albedo_views_need_none():
    lit = orbit_views(4, 0.2, 2.0, 0.8, 4, 4, Shading.LIT, light="orbit")
    turn = torch.atan2(lit.light.position[:, 1], lit.light.position[:, 0])
    assert torch.allclose(wrap_angle(turn + lit.camera.azimuth).abs() % pi, torch.zeros(4), atol=1e-5)
    assert torch.allclose(lit.light.color + lit.light.ambient, torch.ones(4, 3))
    assert not views().light.color.any()


def test_mixed_precision_leaves_rays_and_positions_in_float32():
    cameras = orbit_views(3, elevation=0.3, distance=2.0, fovy=0.8, height=64, width=64).camera
    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    expected = camera_rays(cameras).directions, clip_coordinates(points, cameras)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = camera_rays(cameras).directions, clip_coordinates(points, cameras)
    for value, exact in zip(mixed, expected, strict=True):
        assert value.dtype == torch.float32
        assert torch.equal(value, exact)
