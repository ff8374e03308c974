import pytest
import torch

from threefusion.ops.backend import backend
from threefusion.ops.march import march, ray_points
from threefusion.ops.numba_kernels import march as numba_march

RADIUS, LENGTH, SIDE = 0.8, 0.05, 6


def bundle(count=60):
    """Rays through and past the ball, some along an axis, one from inside, one away from it."""
    generator = torch.Generator().manual_seed(0)
    origins = 2.5 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    towards = torch.nn.functional.normalize(0.5 * torch.randn(count, 3, generator=generator) - origins, dim=-1)
    origins[0], towards[0] = torch.tensor([2.5, 0, 0]), torch.tensor([-1.0, 0, 0])
    origins[1], towards[1] = torch.tensor([0.1, 0.2, -2.5]), torch.tensor([0.0, 0, 1])
    origins[2], towards[2] = torch.tensor([0.1, 0.0, 0.1]), torch.tensor([0.0, 1, 0])
    towards[3] = origins[3] / 2.5
    along = -(origins * towards).sum(-1)
    half = (RADIUS**2 - origins.square().sum(-1) + along.square()).clamp_min(0).sqrt()
    near = (along - half).clamp_min(0.01)
    far = torch.maximum(along + half, near)
    return origins, towards, near, far, torch.rand(count, generator=generator)


def occupancy(share):
    return torch.rand(SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) < share


def naive(origins, directions, near, far, shift, occupied):
    """Every step of every ray in turn."""
    samples = []
    for ray in range(len(origins)):
        for step in range(100):
            middle = near[ray] + (step + shift[ray] - 0.5) * LENGTH
            point = origins[ray] + directions[ray] * middle
            cell = [min(max(int(x), 0), SIDE - 1) for x in ((point / RADIUS + 1) * (SIDE / 2)).tolist()]
            if near[ray] < middle < far[ray] and occupied[tuple(cell)]:
                samples.append((ray, middle.item()))
    return samples


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_samples_equal_those_of_the_naive_loop(each_backend, share):
    rays = bundle()
    middle, ray_index = march(*rays, occupancy(share), RADIUS, LENGTH)
    expected = naive(*rays, occupancy(share))
    assert ray_index.tolist() == [ray for ray, _ in expected]
    assert middle.tolist() == pytest.approx([t for _, t in expected], abs=1e-6)
    assert (share == 0) == (len(middle) == 0)


def test_all_backends_agree_bit_for_bit(kernel_threads, monkeypatch):
    """Whatever the number of threads and of buffered steps."""
    rays = bundle(3000)
    results = []
    for name, number, steps in (("torch", 1, 1), ("numba", 1, 2**21), ("numba", 3, 2**21), ("numba", 3, 9000), ("numba", 1, 1)):
        kernel_threads(number)
        monkeypatch.setattr(numba_march, "MAX_STEPS", steps)
        with backend(name):
            results.append(march(*rays, occupancy(0.4), RADIUS, LENGTH))
    assert len(results[0][0]) > 1000
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_no_rays(each_backend):
    empty = [torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0), torch.zeros(0)]
    middle, ray_index = march(*empty, occupancy(1.0), RADIUS, LENGTH)
    assert middle.shape == (0,) and ray_index.shape == (0,) and ray_index.dtype == torch.int64


def test_points_on_rays_are_the_same_on_all_backends(kernel_threads):
    origins, directions = bundle(50)[:2]
    ray_index = torch.arange(50).repeat_interleave(torch.arange(50) % 7)
    distances = torch.rand(len(ray_index), generator=torch.Generator().manual_seed(2))
    expected = origins[ray_index] + directions[ray_index] * distances[:, None]
    for name, number in (("torch", 1), ("numba", 1), ("numba", 3)):
        kernel_threads(number)
        with backend(name):
            assert torch.equal(ray_points(origins, directions, distances, ray_index), expected)
            assert ray_points(origins, directions, distances[:0], ray_index[:0]).shape == (0, 3)
