"""Noise painted on the surface: white in every view, the same on the same part of the surface."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from spheres import circle, plane, sphere

from threefusion.camera.projection import camera_rays, clip_coordinates
from threefusion.config import Schedule
from threefusion.geometry.settings import CanvasConfig
from threefusion.guidance.noise.settings import FixedConfig, SurfaceConfig
from threefusion.guidance.noise.surface import OPAQUE, SAMPLES, texel_of
from threefusion.guidance.prior.image import resize
from threefusion.registry import build
from threefusion.renderer.heading import turn_views
from threefusion.renderer.settings import ImageConfig
from threefusion.testing import small_scene, synthetic_render, views

SHAPE = (3, 32, 32)
NEVER = 1e12
"""A lifetime after which nothing has changed."""


def noise_of(batch, render, shape=SHAPE, **settings):
    return build(SurfaceConfig(**settings))(shape, batch, render)


def correlation(one, other):
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


@pytest.mark.parametrize("shape_of", [sphere, plane, synthetic_render])
@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_it_is_standard_normal_and_neighbours_are_independent(shape_of, resolution):
    samples = torch.cat(
        [noise_of(batch, shape_of(batch), resolution=resolution) for batch in (replace(circle(1), seed=i) for i in range(24))]
    )
    count = samples.numel()
    assert abs(samples.mean()) < 4 / count**0.5
    assert samples.var() == pytest.approx(1, abs=4 * (2 / count) ** 0.5)
    assert (samples**4).mean() == pytest.approx(3, abs=4 * (96 / count) ** 0.5)
    for offset in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        down, across = offset
        pairs = samples[..., down:, across:] * samples[..., : 32 - down, : 32 - across]
        assert abs(pairs.mean()) < 4.5 / pairs.numel() ** 0.5, offset
    for channel in (1, 2):
        assert abs((samples[:, 0] * samples[:, channel]).mean()) < 4 / samples[:, 0].numel() ** 0.5


def test_each_element_is_standard_normal_over_the_seeds():
    batch = circle(1, 16)
    render = sphere(batch)
    samples = torch.cat([noise_of(replace(batch, seed=i), render, (3, 8, 8)) for i in range(2000)])
    assert samples.var(0).sub(1).abs().max() < 5 * (2 / 2000) ** 0.5
    matrix = torch.corrcoef(samples.flatten(1).T) - torch.eye(192)
    assert matrix.abs().max() < 6 / 2000**0.5


def test_the_same_camera_sees_the_same_noise_at_every_step():
    batch = circle()
    render = sphere(batch)
    source = build(SurfaceConfig(lifetime=NEVER))
    assert torch.equal(source(SHAPE, batch, render), source(SHAPE, replace(batch, step=977), render))


def seen_from(batch, angle):
    """The noise at the points that both a camera and the same one turned by `angle` see."""
    other = turn_views(batch, torch.tensor(angle))
    one, two = sphere(batch), sphere(other)
    rays = camera_rays(batch.camera)
    points = (rays.origins + one.depth.view(-1, 1) * rays.directions)[one.opacity.flatten() > 0]
    clip = clip_coordinates(points, other.camera)[0]
    column, row = ((clip[:, :2] / clip[:, 3:] * torch.tensor([1.0, -1.0]) + 1) * 16).long().clamp(0, 31).unbind(1)
    facing = (points * other.camera.position).sum(-1) > 0.5 * 0.5 * 2
    first = noise_of(batch, one)[0].flatten(1)[:, one.opacity.flatten() > 0][:, facing]
    second = noise_of(other, two)[0][:, row, column][:, facing]
    return first, second


def test_another_view_of_the_same_part_of_the_surface_sees_the_same_noise():
    batch = circle(1)
    assert correlation(*seen_from(batch, 0.001)) > 0.95
    # what remains is where the pixels of the two images lie to each other: a pixel covers parts of up to four
    assert correlation(*seen_from(batch, 0.1)) > 0.5
    assert correlation(*seen_from(batch, 0.5)) > 0.4


def test_another_part_of_the_surface_has_independent_noise():
    batch = circle(4)
    noise = noise_of(batch, sphere(batch))
    surface = sphere(batch).opacity[0, ..., 0] > 0
    # from the front, the back, and both sides: every pixel shows another part
    for other in (1, 2, 3):
        limit = 4 / (3 * surface.sum().item()) ** 0.5
        # of neighbours on the circle, both see the part in between
        assert abs(correlation(noise[0][:, surface], noise[other][:, surface])) < limit + (0.05 if other != 2 else 0)


def test_it_stays_on_the_surface_when_only_the_opacity_changes():
    batch = circle(2)
    solid, thin = (noise_of(batch, sphere(batch, opacity=opacity)) for opacity in (1.0, 0.3))
    # along the silhouette, fewer points of a pixel are on the thin one
    inside = sphere(batch, radius=0.4).opacity[..., 0] > 0
    assert torch.equal(solid.permute(0, 2, 3, 1)[inside], thin.permute(0, 2, 3, 1)[inside])
    assert inside.sum() > 200


def test_where_there_is_no_surface_it_is_fixed_in_the_image():
    batch = circle(3)
    noise = noise_of(batch, sphere(batch))
    empty = noise_of(batch, sphere(batch, opacity=0.5 * OPAQUE))
    assert torch.equal(empty[0], empty[1]) and torch.equal(empty[0], empty[2])
    outside = resize(sphere(batch).opacity, 32)[..., 0] == 0
    border = outside[:, None] & (torch.nn.functional.max_pool2d(1 - outside[:, None].float(), 3, 1, 1) == 0)
    border = border.expand_as(noise)
    assert torch.equal(noise[border], empty[border])


def test_a_picture_has_no_surface_and_its_noise_is_fixed():
    scene, renderer = small_scene(geometry=CanvasConfig(height=16, width=16), renderer=ImageConfig())
    first, second = (noise_of(batch, renderer(scene, batch)) for batch in (views(2), views(2, first=2)))
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[1])
    assert first.std() == pytest.approx(1, abs=0.05)


def test_neither_the_split_of_a_batch_nor_a_new_process_changes_it():
    batch = circle(4)
    whole = noise_of(batch, sphere(batch))
    for i in range(4):
        part = batch.select(torch.tensor([i]))
        assert torch.equal(noise_of(part, sphere(part)), whole[i : i + 1])
    source = build(SurfaceConfig())
    assert not source.state_dict()
    # whatever it was used for before
    for step in (30_000, 7, 20_001):
        source(SHAPE, replace(batch, step=step), sphere(batch))
        source((4, 16, 16), replace(batch, step=step), sphere(batch))
    assert torch.equal(source(SHAPE, batch, sphere(batch)), whole)


def test_other_seeds_paint_other_noise():
    batch = circle(2)
    one, other = (noise_of(replace(batch, seed=seed), sphere(batch)) for seed in (0, 1))
    assert abs(correlation(one, other)) < 4 / one.numel() ** 0.5


def test_the_texels_are_renewed_one_after_another():
    batch = circle(2)
    render = sphere(batch)
    source = build(SurfaceConfig(lifetime=100.0, resolution=3.0))
    start = source(SHAPE, batch, render)
    for step, expected in ((10, 0.9), (50, 0.5), (90, 0.1), (100, 0.0), (150, 0.0)):
        now = source(SHAPE, replace(batch, step=step), render)
        assert correlation(start, now) == pytest.approx(expected, abs=0.05), step
        assert now.var() == pytest.approx(1, abs=4 * (2 / now.numel()) ** 0.5)
    later = source(SHAPE, replace(batch, step=120), render), source(SHAPE, replace(batch, step=170), render)
    assert correlation(*later) == pytest.approx(0.5, abs=0.05)


def test_a_share_of_its_variance_can_be_new_in_every_step():
    batch = circle(2)
    render = sphere(batch)
    painted = Schedule(((0, 1.0), (10, 0.0)))
    now, same, mixed, free = (
        noise_of(replace(batch, step=step), render, painted=share, lifetime=NEVER)
        for step, share in ((0, painted), (5, Schedule.constant(1.0)), (5, painted), (10, painted))
    )
    assert torch.equal(now, same)
    assert correlation(now, mixed) == pytest.approx(0.5**0.5, abs=0.05)
    assert torch.equal(free, replace(batch, step=10).randn("noise", *SHAPE))
    assert mixed.var() == pytest.approx(1, abs=4 * (2 / mixed.numel()) ** 0.5)


def test_the_outer_of_two_surfaces_in_one_direction_owns_the_texels():
    batch = circle(1, 32, 0.0)
    # the upper half of the image shows a ball twice as large: other points in the same directions
    inner, outer = sphere(batch, 0.25), sphere(batch, 0.5)
    upper = (torch.arange(32) < 16)[None, :, None, None]
    parts = {name: torch.where(upper, getattr(outer, name), getattr(inner, name)) for name in ("image", "opacity", "depth")}
    both = replace(outer, **parts)
    alone, together = noise_of(batch, outer), noise_of(batch, both)
    assert torch.equal(alone[:, :, :15], together[:, :, :15])


def test_it_does_not_depend_on_the_precision_around_it():
    batch = circle(2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = noise_of(batch, sphere(batch))
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, noise_of(batch, sphere(batch)))


def test_it_has_no_gradient():
    batch = circle(1)
    render = sphere(batch)
    render = replace(render, opacity=render.opacity.requires_grad_(), depth=render.depth.requires_grad_())
    assert not noise_of(batch, render).requires_grad


def slowly(batch, render, shape, source):
    """The same noise, texel by texel and point by point."""
    channels, size = shape[0], shape[1]
    resolution, samples = round(source.cfg.resolution * size), round(SAMPLES * source.cfg.resolution) * size
    values = source.texels(6 * resolution**2 + size * size, channels, batch)
    rays = camera_rays(batch.camera)
    directions = rays.directions.view(len(batch), batch.camera.height, batch.camera.width, 3)
    noise = torch.empty(len(batch), *shape)
    for view in range(len(batch)):
        seen = render.opacity[view]
        depth = render.depth[view] / seen.clamp(min=1e-6)
        points = batch.camera.position[view] + depth * directions[view]
        grid = resize(torch.cat([seen * points, seen], -1)[None], samples)[0]
        owned = {}
        for i in range(samples):
            for j in range(samples):
                opacity = grid[i, j, 3].item()
                if opacity <= OPAQUE:
                    continue
                point = grid[i, j, :3] / opacity
                pixel = (point.norm().item(), i // (samples // size) * size + j // (samples // size))
                texel = int(texel_of(point[None], resolution))
                owned[texel] = max(owned.get(texel, (0.0, 0)), pixel)
        for pixel in range(size * size):
            mine = sorted(texel for texel, (_, owner) in owned.items() if owner == pixel)
            total = values[mine].sum(0) / math.sqrt(len(mine)) if mine else values[6 * resolution**2 + pixel]
            noise[view, :, pixel // size, pixel % size] = total
    return noise


@pytest.mark.parametrize("resolution", [1.0, 2.0])
def test_it_is_what_a_plain_implementation_makes(resolution):
    batch, source = replace(circle(2, 12), step=4000), build(SurfaceConfig(resolution=resolution))
    render = sphere(batch, opacity=0.7)
    torch.testing.assert_close(source((2, 8, 8), batch, render), slowly(batch, render, (2, 8, 8), source), rtol=1e-5, atol=1e-5)


def test_texels_are_of_nearly_equal_size_and_cover_all_directions():
    directions = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    hits = torch.bincount(texel_of(directions, 8), minlength=6 * 64)
    assert len(hits) == 6 * 64
    assert hits.min() > 0.6 * hits.float().mean() and hits.max() < 1.5 * hits.float().mean()
    assert torch.equal(texel_of(directions, 8), texel_of(3.7 * directions, 8))


def test_fixed_noise_differs_from_view_to_view_and_stays():
    batch = circle(2)
    fixed = build(FixedConfig())
    first = fixed(SHAPE, batch, sphere(batch))
    assert torch.equal(first, fixed(SHAPE, replace(batch, step=5), sphere(batch)))
    assert abs(correlation(first[0], first[1])) < 4 / first[0].numel() ** 0.5
