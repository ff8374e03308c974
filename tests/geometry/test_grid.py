import itertools
from math import floor

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from threefusion.config import Schedule
from threefusion.geometry.encoding.dense_grid import DenseGrid
from threefusion.geometry.encoding.encoding import Encoding
from threefusion.geometry.encoding.hash_grid import HashGrid
from threefusion.geometry.encoding.settings import DenseGridConfig, HashGridConfig


def hash_grid(**settings):
    return HashGrid(HashGridConfig(**({"levels": 4, "log2_table_size": 8, "base_resolution": 4, "growth": 1.7} | settings)))


def dense_grid(**settings):
    return DenseGrid(DenseGridConfig(**({"levels": 2, "features": 3, "base_resolution": 3} | settings)))


@pytest.fixture(params=[hash_grid, dense_grid], ids=["hash", "dense"])
def grid(request):
    torch.manual_seed(0)
    grid = request.param().double()
    torch.nn.init.normal_(grid.table)
    return grid


def some_points(count=12):
    edges = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [0, 0, 0], [1, -1, 0.5]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    return torch.cat([edges, torch.rand(count - 4, 3, generator=generator, dtype=torch.float64) * 2 - 1])


def naive_row(level, vertex):
    x, y, z = vertex
    if level.hashed:
        return (x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)) % level.rows
    return (x + level.side * (y + level.side * z)) % level.rows


def naive_encode(grid, point):
    features = []
    for level, offset in zip(grid.grid.levels, grid.grid.offsets, strict=False):
        place = [(x + 1) / 2 * level.scale + level.shift for x in point]
        low = [min(floor(p), level.last) for p in place]
        total = torch.zeros(grid.grid.features, dtype=torch.float64)
        for corner in itertools.product((0, 1), repeat=3):
            weight = 1.0
            for position, cell, far in zip(place, low, corner, strict=True):
                weight *= position - cell if far else 1 - (position - cell)
            row = naive_row(level, [cell + far for cell, far in zip(low, corner, strict=True)])
            total += weight * grid.table[offset + row]
        features.append(total)
    return torch.cat(features)


def test_features_equal_those_of_the_naive_loop(grid):
    points = some_points()
    expected = torch.stack([naive_encode(grid, point.tolist()) for point in points])
    assert torch.allclose(grid(points), expected, atol=1e-12)
    assert grid.width == expected.shape[1]


def test_the_hash_grid_has_both_dense_and_hashed_levels():
    assert [level.hashed for level in hash_grid().grid.levels] == [False, True, True, True]
    assert not any(level.hashed for level in dense_grid().grid.levels)


def test_derivatives_in_points_and_tables_to_second_order(grid):
    points = some_points(6)[4:].requires_grad_()
    assert gradcheck(grid, points)
    assert gradgradcheck(grid, points)
    grid(points).sum().backward()
    rows = [level.rows for level in grid.grid.levels]
    assert all(part.abs().sum() > 0 for part in grid.table.grad.split(rows))


def test_pullback_equals_that_of_autograd_with_its_own_derivatives(grid):
    points = some_points()[4:]
    cotangent = torch.randn(len(points), grid.width, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(len(points), 3, dtype=torch.float64)
    results = []
    for method in (grid.with_pullback, lambda p: Encoding.with_pullback(grid, p)):
        encoded, pullback = method(points)
        gradient = pullback(cotangent)
        parameters = [cotangent, *grid.parameters()]
        results.append([encoded, gradient, *torch.autograd.grad((gradient * probe).sum(), parameters)])
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, atol=1e-10)


def test_single_precision_agrees_with_double(grid):
    points = some_points()
    assert torch.allclose(grid(points).float(), grid.float()(points.float()), atol=1e-5)


def test_no_points_at_all(grid):
    encoded, pullback = grid.with_pullback(torch.zeros(0, 3, dtype=torch.float64))
    gradient = pullback(torch.zeros(0, grid.width, dtype=torch.float64))
    assert encoded.shape == (0, grid.width) and gradient.shape == (0, 3)
    (encoded.sum() + gradient.sum()).backward()
    assert not grid.table.grad.any()


def test_levels_wake_one_by_one():
    grid = hash_grid(active_levels=Schedule(((0, 1.0), (100, 4.0))))
    torch.nn.init.normal_(grid.table)
    points = some_points().float()
    whole = hash_grid()
    whole.load_state_dict(grid.state_dict())
    for step, shares in ((0, (1, 0, 0, 0)), (50, (1, 1, 0.5, 0)), (100, (1, 1, 1, 1))):
        grid.on_step(step, torch.Generator())
        scale = torch.tensor(shares).repeat_interleave(2)
        encoded, pullback = grid.with_pullback(points)
        assert torch.allclose(encoded, whole(points) * scale)
        cotangent = torch.randn(len(points), 8)
        assert torch.allclose(pullback(cotangent), whole.with_pullback(points)[1](cotangent * scale), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (HashGridConfig, "levels", 0),
        (HashGridConfig, "growth", 5.0),
        (HashGridConfig, "log2_table_size", 30),
        (DenseGridConfig, "features", 0),
        (DenseGridConfig, "levels", 6),
    ],
)
def test_sizes_out_of_range_are_refused(config, field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        config(**{field: value})
