"""Kernels of the grid encoding against the torch reference, and the reference against finite differences."""

import os
import signal
import time

import numpy as np
import pytest
import torch
from grid_scenes import GRIDS, difference, scene
from torch.autograd import gradcheck, gradgradcheck

from threefusion.ops.backend import backend
from threefusion.ops.grid import Grid, dense_levels, encode, encode_vjp, hash_levels
from threefusion.ops.numba_kernels import grid as numba_grid
from threefusion.ops.torch_kernels import grid as reference


@pytest.mark.parametrize("tangent", [False, True], ids=["values", "tangents"])
@pytest.mark.parametrize("name", GRIDS)
def test_kernels_agree_with_the_reference(name, tangent):
    grid = GRIDS[name]
    # blocks hold 256 points, chunks 8192
    for count in (1, 3, 256, 700, 8500):
        points, table, cotangent, along = scene(grid, count)
        along = along if tangent else None
        for kernel, arguments, tolerance in (
            ("gather", (table,), 1e-6),
            ("scatter", (cotangent,), 1e-5),
            ("point_gradient", (table, cotangent), 1e-5),
        ):
            fast = getattr(numba_grid, kernel)(points, *arguments, along, grid)
            plain = getattr(reference, kernel)(points, *arguments, along, grid)
            assert fast.shape == plain.shape
            if plain.any():  # one level alone has no second derivative in some cells
                assert difference(fast, plain) < tolerance, (kernel, count)


@pytest.mark.parametrize("grid", [Grid(hash_levels(2, 3, 2, 1.6), 2), Grid(dense_levels([1, 2]), 1)], ids=["hash", "dense"])
def test_derivatives_to_second_order(each_backend, grid):
    # the first four points lie on cell borders, where derivatives are discontinuous
    points, table, cotangent, _ = (value[4 * (len(value) == 6) :] for value in scene(grid, 6, torch.float64))
    points, table, cotangent = (value.clone().requires_grad_() for value in (points, table, cotangent))
    assert gradcheck(lambda p, t: encode(p, t, grid), (points, table))
    assert gradgradcheck(lambda p, t: encode(p, t, grid), (points, table))
    assert gradcheck(lambda p, t, a: encode_vjp(p, t, a, grid), (points, table, cotangent))


def test_the_gradient_of_a_loss_on_normals_is_the_same_on_every_backend():
    """Gradient of the table through the normalised gradient of the points, as the orientation loss needs it."""
    grid = GRIDS["fine"]
    points, table, cotangent, along = scene(grid, 2000)
    gradients = []
    for name in ("torch", "numba"):
        with backend(name):
            table = table.detach().requires_grad_()
            normal = torch.nn.functional.normalize(encode_vjp(points, table, cotangent, grid), dim=-1)
            (normal * along).sum().backward()
            gradients.append(table.grad)
    assert difference(*reversed(gradients)) < 1e-5


def test_sums_do_not_depend_on_the_number_of_threads(kernel_threads):
    grid = GRIDS["fine"]
    points, table, cotangent, along = scene(grid, 20000)
    results = []
    for count in (1, 2, 3):
        kernel_threads(count)
        results.append(
            [
                numba_grid.gather(points, table, None, grid),
                numba_grid.scatter(points, cotangent, along, grid),
                numba_grid.point_gradient(points, table, cotangent, None, grid),
            ]
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_points_outside_the_grid_and_nan_read_no_memory_out_of_bounds(each_backend):
    for grid in GRIDS.values():
        points = torch.tensor([[5.0, -7, 0], [1e30, -1e30, 0], [float("nan"), float("inf"), -float("inf")]])
        table, cotangent = torch.ones(grid.rows, grid.features), torch.ones(3, grid.width)
        encode(points, table, grid)
        table.requires_grad_()
        encode(points, table, grid).backward(cotangent)
        assert table.grad.shape == table.shape


def test_no_points(each_backend):
    grid = GRIDS["hash"]
    table = torch.ones(grid.rows, grid.features, requires_grad=True)
    nothing = torch.zeros(0, 3, requires_grad=True)
    encode(nothing, table, grid).sum().backward()
    assert not table.grad.any() and nothing.grad.shape == (0, 3)
    assert encode_vjp(nothing, table, torch.zeros(0, grid.width), grid).shape == (0, 3)


def test_levels_have_the_sizes_of_tiny_cuda_nn():
    """Its default hash grid (16 levels, 2^19 rows, base 16, growth 1.447269237) as its `grid.h` computes it."""
    levels = hash_levels(16, 19, 16, 1.447269237)
    scales = [np.float32(np.exp2(np.float32(i * np.log2(1.447269237))) * 16 - 1) for i in range(16)]
    assert [level.side for level in levels] == [int(np.ceil(scale)) + 1 for scale in scales]
    assert levels[0] == levels[0].__class__(15.0, 0.5, 16, 15, 4096, False)
    assert [level.hashed for level in levels].index(True) == next(i for i, level in enumerate(levels) if level.side**3 > 2**19)
    assert all(level.rows == 2**19 for level in levels if level.hashed)
    assert all(level.rows % 8 == 0 and 0 <= level.rows - level.side**3 < 8 for level in levels if not level.hashed)


def test_no_third_derivatives():
    grid = GRIDS["hash"]
    points, table, cotangent, _ = scene(grid, 6)
    points.requires_grad_()
    first = encode_vjp(points, table, cotangent, grid)
    (second,) = torch.autograd.grad(first.sum(), points, create_graph=True)
    with pytest.raises(NotImplementedError, match="third"):
        second.sum().backward()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_creates_its_own_thread_pool(kernel_threads):
    """The threads of the parent do not exist in the child."""
    grid = GRIDS["fine"]
    points, table, _, _ = scene(grid, 100)
    kernel_threads(3)
    expected = numba_grid.gather(points, table, None, grid)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(numba_grid.gather(points, table, None, grid), expected) else 1)
    deadline = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    assert ended[1] == 0
