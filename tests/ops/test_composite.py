import pytest
import torch
from torch.autograd import gradcheck

from threefusion.ops.backend import backend
from threefusion.ops.composite import composite, packed_weights, weighted_sums

COUNTS = [3, 0, 5, 1, 0, 7, 0]
RAYS = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))


pytestmark = pytest.mark.usefixtures("each_backend")


def sums(weights, rays=RAYS, count=7):
    """Gradient of the weights."""
    return weighted_sums(weights, torch.ones_like(weights)[:, None], rays, count)[:, 0]


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


def test_weights_and_transmittance_sum_to_one():
    depths = some_depths()
    total = sums(packed_weights(depths, RAYS, len(COUNTS)))
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
    assert torch.allclose(weighted_sums(torch.ones(len(RAYS)), values, RAYS, len(COUNTS)), expected, atol=1e-6)


def test_no_samples_at_all():
    depths = torch.zeros(0, requires_grad=True)
    nothing = torch.zeros(0, dtype=int)
    out = sums(packed_weights(depths, nothing, 5), nothing, 5)
    assert torch.equal(out, torch.zeros(5))
    out.sum().backward()
    assert depths.grad.shape == (0,)


def test_sums_pass_gradcheck():
    values = torch.randn(len(RAYS), 3, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda w, v: weighted_sums(w, v, RAYS, len(COUNTS)), (some_depths().requires_grad_(), values))


def composited(weigh, dtype=torch.float32):
    """Sums and weights, and their gradients in the depths and the values."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(len(RAYS), 6, generator=generator).to(dtype).requires_grad_()
    depths, distances = (
        some_depths(torch.float32).to(dtype).requires_grad_(),
        torch.rand(len(RAYS), generator=generator).to(dtype),
    )
    sums, weights = weigh(depths, values, distances)
    probe = torch.linspace(-1, 1, sums.numel(), dtype=dtype).reshape(sums.shape)
    loss = (sums * probe).sum() + (weights * distances.flip(0)).sum()
    of_weights = torch.autograd.grad(weights.square().sum(), depths, retain_graph=True)
    return [sums, weights, *of_weights, *torch.autograd.grad(loss, (depths, values))]


def test_composite_is_weights_and_sums_in_one():
    """Against the plain operations in torch, in float64; one of its results alone can be differentiated too."""

    def plainly(depths, values, distances):
        weights = packed_weights(depths, RAYS, len(COUNTS))
        columns = torch.cat([values, torch.ones_like(distances)[:, None], distances[:, None]], -1)
        return weighted_sums(weights, columns, RAYS, len(COUNTS)), weights

    def fused(depths, values, distances):
        return composite(depths, values, distances, RAYS, len(COUNTS))

    with backend("torch"):
        expected = composited(plainly, torch.float64)
    for ours, theirs in zip(composited(fused), expected, strict=True):
        assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def test_composite_of_no_samples_and_behind_an_opaque_one():
    nothing = torch.zeros(0, dtype=int)
    sums, weights = composite(torch.zeros(0), torch.zeros(0, 3), torch.zeros(0), nothing, 2)
    assert torch.equal(sums, torch.zeros(2, 5)) and weights.shape == (0,)
    depths = torch.tensor([200.0, 200.0]).requires_grad_()
    sums, weights = composite(depths, torch.ones(2, 1), torch.tensor([1.0, 2.0]), torch.zeros(2, dtype=int), 1)
    sums.sum().backward()
    assert torch.equal(weights.detach(), torch.tensor([1.0, 0.0])) and depths.grad.isfinite().all()


def test_results_do_not_depend_on_the_number_of_threads(kernel_threads):
    """Rays of all lengths, also with more threads than rays."""
    generator = torch.Generator().manual_seed(1)
    counts = torch.randint(0, 9, (50,), generator=generator)
    rays = torch.arange(50).repeat_interleave(counts)
    values = torch.randn(len(rays), 3, generator=generator)
    results = []
    for number in (1, 2, 5):
        kernel_threads(number)
        depths = torch.rand(len(rays), generator=torch.Generator().manual_seed(2)).requires_grad_()
        weights = packed_weights(depths, rays, 50)
        out = weighted_sums(weights, values, rays, 50)
        both, again = composite(depths, values, depths.detach(), rays, 50)
        (out.square().sum() + both.square().sum() + again.sum()).backward()
        results.append((weights, out, both, depths.grad))
    for other in results[1:]:
        assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in zip(results[0], other, strict=True))
