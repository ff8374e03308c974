"""Triton kernels against slow versions, on a GPU or in Triton's interpreter (`python tests/ops/triton_offline.py`)."""

import os

import pytest
import torch
from grid_scenes import GRIDS, difference, scene

pytest.importorskip("triton")

from threefusion.ops.grid import Grid, hash_levels
from threefusion.ops.march import RaySegments
from threefusion.ops.torch_kernels import grid as reference
from threefusion.ops.triton_kernels import composite, grid, march

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]

# as fine as sixteen usual levels, where the rounding of positions matters most
FINE = Grid(hash_levels(4, 12, 16, 6.35), 2)


@pytest.mark.parametrize("tangent", [False, True], ids=["values", "tangents"])
@pytest.mark.parametrize("name", ["fine", "odd", "one", "dense"])
def test_grid_kernels_agree_with_the_reference(name, tangent):
    levels = FINE if name == "fine" else GRIDS[name]
    for count in (1, 128, 150):  # a block holds 128 points
        points, table, cotangent, along = scene(levels, count)
        along = along if tangent else None
        for kernel, arguments, tolerance in (
            ("gather", (table,), 1e-6),
            ("scatter", (cotangent,), 1e-5),
            ("point_gradient", (table, cotangent), 1e-5),
        ):
            plain = getattr(reference, kernel)(points, *arguments, along, levels)
            there = [None if tensor is None else tensor.to(DEVICE) for tensor in (points, *arguments, along)]
            fast = getattr(grid, kernel)(*there, levels).cpu()
            assert fast.shape == plain.shape
            if plain.any():  # one level alone has no second derivative in some cells
                assert difference(fast, plain) < tolerance, (kernel, count)


def packed(counts):
    """Optical depths from tiny to opaque on rays with `counts` samples."""
    rays = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    generator = torch.Generator().manual_seed(0)
    return 10 ** (torch.rand(len(rays), generator=generator) * 6 - 5.5), rays


def naive_weights(depths, rays, count):
    """Naive version in double precision, with the transmittance in front of each sample."""
    found = []
    left = [depths.new_ones(())] * count
    for depth, ray in zip(depths, rays.tolist(), strict=True):
        found.append(torch.stack([left[ray] * -torch.expm1(-depth), left[ray]]))
        left[ray] = left[ray] * torch.exp(-depth)
    return torch.stack(found, 1)


def test_weights_and_their_gradient_agree_with_a_loop():
    counts = [3, 0, 64, 65, 1, 200, 0]  # a block holds 64 samples
    depths, rays = packed(counts)
    gradient = torch.randn(len(rays), generator=torch.Generator().manual_seed(1))
    double = depths.double().requires_grad_()
    plain, left = naive_weights(double, rays, len(counts))
    plain.backward(gradient.double())
    weights, transmittance = composite.weights(depths.to(DEVICE), rays.to(DEVICE), len(counts))
    assert difference(weights.cpu(), plain.detach()) < 1e-6
    assert difference(transmittance.cpu(), left.detach()) < 1e-6
    # small weights are precise, too
    assert torch.allclose(weights.cpu().double(), plain.detach(), rtol=5e-6, atol=1e-12)
    back = composite.weights_backward(gradient.to(DEVICE), weights, transmittance, rays.to(DEVICE), len(counts)).cpu()
    assert difference(back, double.grad) < 1e-6


def test_an_opaque_sample_hides_only_the_samples_behind_it():
    """Even if its optical depth exceeds the float32 resolution of those in front of it."""
    depths = torch.tensor([0.5, 1e10, 0.5, 0.25, 0.5])
    weights, transmittance = composite.weights(depths.to(DEVICE), torch.tensor([0, 0, 0, 1, 1]).to(DEVICE), 2)
    expected = torch.tensor([0, -0.5, -1e10, 0, -0.25]).exp()
    assert torch.allclose(transmittance.cpu(), expected)
    assert torch.allclose(weights.cpu(), expected * -torch.expm1(-depths))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_weighted_sums_and_their_gradients_agree_with_autograd(channels):
    counts = [3, 0, 64, 65, 1, 0]
    _, rays = packed(counts)
    generator = torch.Generator().manual_seed(2)
    weights = torch.rand(len(rays), generator=generator, dtype=torch.float64).requires_grad_()
    values = torch.randn(len(rays), channels, generator=generator, dtype=torch.float64).requires_grad_()
    gradient = torch.randn(len(counts), channels, generator=generator)
    plain = torch.zeros(len(counts), channels, dtype=torch.float64).index_add(0, rays, weights[:, None] * values)
    plain.backward(gradient.double())
    there = [tensor.detach().float().to(DEVICE) for tensor in (weights, values)]
    fast = composite.weighted_sums(*there, rays.to(DEVICE), len(counts)).cpu()
    assert difference(fast, plain.detach()) < 1e-6
    for_weights, for_values = composite.weighted_sums_backward(gradient.to(DEVICE), *there, rays.to(DEVICE))
    assert difference(for_weights.cpu(), weights.grad) < 1e-6
    assert difference(for_values.cpu(), values.grad) < 1e-6


def test_no_samples_at_all():
    nothing, rays = torch.zeros(0, device=DEVICE), torch.zeros(0, dtype=torch.int64, device=DEVICE)
    weights, transmittance = composite.weights(nothing, rays, 2)
    assert composite.weights_backward(nothing, weights, transmittance, rays, 2).shape == (0,)
    assert torch.equal(composite.weighted_sums(weights, nothing.new_zeros(0, 3), rays, 2).cpu(), torch.zeros(2, 3))


def naive_march(rays, occupied, radius, step_length):
    """Naive version in the single precision of the kernels."""
    side, found = len(occupied), []
    for ray, (origin, direction, near, far, shift) in enumerate(zip(*rays, strict=True)):
        for step in torch.arange(300.0):
            middle = near + (step + shift - 0.5) * step_length
            cell = ((origin + direction * middle) * (side / (2 * radius)) + side / 2).int().clamp(0, side - 1)
            if near < middle < far and occupied[tuple(cell.tolist())]:
                found.append((middle.item(), ray))
    return found


@pytest.mark.parametrize("step_length", [0.2, 0.02])
def test_marching_equals_the_naive_loop(step_length):
    generator = torch.Generator().manual_seed(3)
    count, radius = 9, 0.8
    origins = 2 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    directions = torch.nn.functional.normalize(0.3 * torch.randn(count, 3, generator=generator) - origins, dim=-1)
    # the second last misses, the last starts behind the scene
    near, far = torch.full((count,), 1.2), torch.cat([torch.rand(count - 2, generator=generator) + 1.7, torch.tensor([1.2, 0.5])])
    rays = [origins, directions, near, far, torch.rand(count, generator=generator)]
    occupied = torch.rand(5, 5, 5, generator=generator) < 0.4
    middle, ray_index = march.march(
        RaySegments(*(tensor.to(DEVICE) for tensor in rays)), occupied.to(DEVICE), radius, step_length
    )
    found = naive_march(rays, occupied, radius, step_length)
    assert len(found) > 5
    assert list(zip(middle.tolist(), ray_index.tolist(), strict=True)) == found


def test_marching_without_rays_or_occupied_cells():
    for count in (0, 2):
        rays = [torch.ones(count, 3), torch.ones(count, 3), torch.zeros(count), torch.ones(count), torch.ones(count)]
        empty = torch.zeros(4, 4, 4, dtype=torch.bool, device=DEVICE)
        middle, ray_index = march.march(RaySegments(*(tensor.to(DEVICE) for tensor in rays)), empty, 1.0, 0.1)
        assert middle.shape == ray_index.shape == (0,) and ray_index.dtype == torch.int64
