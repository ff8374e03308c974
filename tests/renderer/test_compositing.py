import torch
from torch.autograd import gradcheck

from threefusion.renderer.compositing import accumulate, packed_weights
from threefusion.renderer.cone import cone_gaussian

COUNTS = [3, 0, 5, 1, 0, 7, 0]
RAYS = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))


def some_depths(dtype=torch.float64):
    return 3 * torch.rand(len(RAYS), dtype=dtype, generator=torch.Generator().manual_seed(0))


def double_loop(depths):
    weights, left = [], []
    for ray in range(len(COUNTS)):
        transmittance = depths.new_ones(())
        for depth in depths[ray == RAYS]:
            weights.append(transmittance * (1 - (-depth).exp()))
            transmittance = transmittance * (-depth).exp()
        left.append(transmittance)
    return torch.stack(weights), torch.stack(left)


def test_weights_and_their_gradient_equal_those_of_the_double_loop():
    results = []
    for weigh in (lambda d: packed_weights(d, RAYS, len(COUNTS)), lambda d: double_loop(d)[0]):
        depths = some_depths().requires_grad_()
        weights = weigh(depths)
        (weights * torch.arange(len(RAYS))).sum().backward()
        results.append((weights, depths.grad))
    for fast, slow in zip(*results, strict=True):
        assert torch.allclose(fast, slow, atol=1e-12)


def test_weights_pass_gradcheck():
    assert gradcheck(lambda d: packed_weights(d, RAYS, len(COUNTS)), some_depths().requires_grad_())


def test_weights_and_what_gets_through_add_up_to_one():
    depths = some_depths()
    total = accumulate(packed_weights(depths, RAYS, len(COUNTS))[:, None], RAYS, len(COUNTS))[:, 0]
    assert torch.allclose(total + double_loop(depths)[1], torch.ones(len(COUNTS), dtype=torch.float64))


def test_constant_density_absorbs_one_minus_exp():
    depth = torch.full((100,), 2.5 / 100)
    assert torch.allclose(packed_weights(depth, torch.zeros(100, dtype=int), 1).sum(), 1 - torch.tensor(-2.5).exp())


def test_thin_rays_keep_their_precision_behind_thousands_of_opaque_ones():
    rays, per_ray = 4096, 16
    depths = torch.full((rays, per_ray), 50.0)
    depths[-1] = 1e-4
    weights = packed_weights(depths.flatten(), torch.arange(rays).repeat_interleave(per_ray), rays)
    assert torch.allclose(weights[-per_ray:], torch.full((per_ray,), 1e-4), rtol=2e-3)


def test_sums_are_those_of_each_ray():
    values = torch.randn(len(RAYS), 4)
    expected = torch.stack([values[ray == RAYS].sum(0) for ray in range(len(COUNTS))])
    assert torch.allclose(accumulate(values, RAYS, len(COUNTS)), expected, atol=1e-6)


def test_no_samples_at_all():
    depths = torch.zeros(0, requires_grad=True)
    nothing = torch.zeros(0, dtype=int)
    out = accumulate(packed_weights(depths, nothing, 5)[:, None], nothing, 5)
    assert torch.equal(out, torch.zeros(5, 1))
    out.sum().backward()
    assert depths.grad.shape == (0,)


def test_cone_gaussian_has_the_moments_of_its_frustum():
    generator = torch.Generator().manual_seed(0)
    start, end, radius = 1.0, 1.4, 0.2
    # uniform in the frustum: distance with density t^2, uniform in the disc
    t = (start**3 + (end**3 - start**3) * torch.rand(400000, generator=generator)).pow(1 / 3)
    r = radius * t * torch.rand(400000, generator=generator).sqrt()
    turn = 2 * torch.pi * torch.rand(400000, generator=generator)
    points = torch.stack([t, r * turn.cos(), r * turn.sin()], -1)
    mean, covariance = cone_gaussian(
        torch.tensor([[1.0, 0, 0]]), torch.tensor([[radius]]), torch.tensor([start]), torch.tensor([end])
    )
    assert torch.allclose(mean, points[:, 0].mean(), rtol=1e-3)
    assert torch.allclose(covariance[0], points.var(dim=0), rtol=0.02)


def test_cone_gaussian_turns_with_the_ray():
    direction = torch.nn.functional.normalize(torch.randn(6, 3), dim=-1)
    mean, covariance = cone_gaussian(direction, torch.full((6, 1), 0.1), torch.full((6,), 1.0), torch.full((6,), 1.5))
    assert torch.allclose(mean, mean[:1].expand(6))
    assert torch.allclose(covariance.sum(-1), covariance[0].sum().expand(6))
