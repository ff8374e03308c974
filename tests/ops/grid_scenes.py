"""Grids, points and tables on which kernels are compared."""

import torch

from threefusion.ops.grid import Grid, dense_levels, hash_levels

GRIDS = {
    "hash": Grid(hash_levels(4, 8, 4, 1.7), 2),
    "fine": Grid(hash_levels(16, 12, 16, 1.447), 2),
    "odd": Grid(hash_levels(3, 9, 5, 1.5), 3),
    "one": Grid(dense_levels([4]), 1),
    "dense": Grid(dense_levels([3, 6]), 8),
}


def scene(grid, count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(count)
    border = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [0, 0, 0], [1, -1, 0.5]])[:count]
    inside = torch.rand(count - len(border), 3, generator=generator) * 2 - 1
    points = torch.cat([border, inside]).to(dtype)
    table = torch.randn(grid.rows, grid.features, generator=generator).to(dtype)
    cotangent = torch.randn(count, grid.width, generator=generator).to(dtype)
    return points, table, cotangent, torch.randn(count, 3, generator=generator).to(dtype)


def difference(fast, plain):
    """Largest difference in units of the largest value."""
    return ((fast - plain).abs().max() / plain.abs().max()).item()
