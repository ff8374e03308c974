import pytest
import torch
from scenes import Ball

from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays
from threefusion.renderer.sampler.occupancy import Occupancy
from threefusion.renderer.sampler.sampler import ball_interval
from threefusion.renderer.sampler.settings import OccupancyConfig, UniformConfig
from threefusion.renderer.sampler.uniform import Uniform
from threefusion.types import view_generator

VIEWS = orbit_views(2, 0.3, 2.5, 0.9, 8, 8)
RAYS = camera_rays(VIEWS.camera)


def uniform(count=16):
    return Uniform(UniformConfig(samples_per_ray=count))


def occupancy(**settings):
    return Occupancy(OccupancyConfig(**({"samples_per_ray": 16, "resolution": 8} | settings)))


def sample(sampler, random=False):
    return sampler(1.0, RAYS, VIEWS, random)


def refresh(sampler, *steps, geometry=None, seed=0):
    for step in steps:
        sampler.update((geometry or Ball()).density, 1.0, step, view_generator(seed, step, 0, "on_step"))
    return sampler


def places(samples):
    return RAYS.origins[samples.ray_index] + RAYS.directions[samples.ray_index] * samples.t_mid[:, None]


def test_rays_enter_and_leave_the_ball_on_its_surface():
    near, far = ball_interval(RAYS, 1.0, 0.1)
    hit = far > near
    for t in (near, far):
        ends = (RAYS.origins + RAYS.directions * t[:, None])[hit]
        assert torch.allclose(ends.norm(dim=-1), torch.ones(len(ends)), atol=1e-5)
    closest = torch.linalg.cross(RAYS.origins, RAYS.directions).norm(dim=-1)
    assert torch.equal(hit, closest < 1) and hit.any() and not hit.all()


def test_a_camera_inside_the_ball_starts_at_its_near_plane():
    inside = camera_rays(orbit_views(1, 0.3, 0.5, 0.9, 4, 4).camera)
    near, far = ball_interval(inside, 1.0, 0.1)
    assert (near == 0.1).all() and (far > 0.4).all()


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("make", [uniform, occupancy])
def test_samples_are_sorted_by_ray_then_distance_and_do_not_overlap(make, random):
    samples = sample(make(), random)
    assert (samples.ray_index.diff() >= 0).all() and (samples.t_end > samples.t_start).all()
    same_ray = samples.ray_index.diff() == 0
    assert (samples.t_start[1:] - samples.t_end[:-1])[same_ray].min() > -1e-5
    assert places(samples).norm(dim=-1).max() < 1 + 1e-5


@pytest.mark.parametrize("random", [False, True])
def test_uniform_samples_fill_the_ball_without_gaps(random):
    samples = sample(uniform(), random)
    near, far = ball_interval(RAYS, 1.0, 0.1)
    length = torch.zeros(len(near)).index_add(0, samples.ray_index, samples.t_end - samples.t_start)
    if not random:
        assert torch.allclose(length, far - near, atol=1e-5)
    else:
        assert (length <= far - near + 1e-5).all() and length.sum() > 0.9 * (far - near).sum()


@pytest.mark.parametrize("make", [uniform, occupancy])
def test_jitter_is_a_function_of_the_batch_and_absent_unless_wanted(make):
    sampler = make()
    drawn = [sample(sampler, random).t_start for random in (True, True, False, False)]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[2], drawn[3])
    assert drawn[0].shape != drawn[2].shape or not torch.allclose(drawn[0], drawn[2])


def test_culling_drops_exactly_the_samples_in_empty_cells():
    ball, sampler = Ball(size=0.4), occupancy(samples_per_ray=64)
    everything = sample(sampler)
    refresh(sampler, *range(0, 256, 16), geometry=ball)
    kept = sample(sampler)
    density = ball.density(places(everything))[:, 0] > 0
    keys = [list(zip(s.ray_index.tolist(), s.t_start.tolist(), strict=True)) for s in (everything, kept)]
    filled = {key for key, is_full in zip(keys[0], density.tolist(), strict=True) if is_full}
    keys = [set(key) for key in keys]
    assert keys[1] < keys[0] and len(keys[1]) < 0.5 * len(keys[0])
    assert len(filled) > 100 and len(filled - keys[1]) <= 0.02 * len(filled)


def test_a_scene_thinner_than_the_threshold_is_not_culled_away():
    sampler = refresh(occupancy(), 0, geometry=Ball(density=1e-4, size=2.0))
    assert sampler.occupied.float().mean() > 0.3


def test_cells_that_empty_out_are_forgotten_and_new_matter_is_found():
    ball = Ball(size=0.4)
    sampler = refresh(occupancy(decay=0.5), 0, geometry=ball)
    before = sampler.occupied.clone()
    ball.center = torch.tensor([0.5, 0.0, 0.0])
    refresh(sampler, *range(256, 256 + 16 * 64, 16), geometry=ball)
    half = sampler.occupied.view(8, 8, 8)
    assert before.view(8, 8, 8)[:4].any() and not half[:2].any() and half[5:7].any()


def test_after_the_warmup_a_refresh_visits_a_quarter_and_four_visit_all():
    ball, sampler = Ball(size=2.0), occupancy(warmup_steps=0)
    visited = [int((refresh(sampler, 16 * turn, geometry=ball).peak_density > 0).sum()) for turn in range(4)]
    assert visited == [128, 256, 384, 512]
    before = sampler.peak_density.clone()
    refresh(sampler, 17, geometry=ball)
    assert torch.equal(before, sampler.peak_density)


def test_a_grid_restored_from_its_state_goes_on_as_if_never_stopped():
    whole = refresh(occupancy(), *range(0, 640, 16))
    first = refresh(occupancy(), *range(0, 320, 16))
    second = occupancy()
    second.load_state_dict(first.state_dict())
    refresh(second, *range(320, 640, 16))
    assert torch.equal(whole.peak_density, second.peak_density) and torch.equal(whole.occupied, second.occupied)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [(UniformConfig, "samples_per_ray", 0), (OccupancyConfig, "decay", 1.0), (OccupancyConfig, "interval", 0)],
)
def test_values_out_of_range_are_refused(config, field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        config(**{field: value})
