"""Hash grids by tiny-cuda-nn. Not tested on a GPU yet.

Its parameters are our table, flattened. Grids that it does not support, such as dense ones, run in torch.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, isclose, log2
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import grad
from torch.func import functional_call

from threefusion.errors import UserError
from threefusion.machine.optional import require
from threefusion.ops.grid import Encoded, Grid, Points, Table, hash_levels
from threefusion.ops.torch_kernels import grid as reference


def table_from_parameters(parameters: Float[Tensor, "P"], grid: Grid) -> Table:
    """Convert the parameters of a tiny-cuda-nn grid to our table.

    Raises:
        UserError: their number does not match the grid.
    """
    expected = grid.rows * grid.features
    if len(parameters) != expected:
        sizes = f"{grid.rows} rows of {grid.features}"
        raise UserError(f"tiny-cuda-nn parameters: expected {expected} for {sizes} features, got {len(parameters)}")
    return parameters.reshape(grid.rows, grid.features)


def parameters_from_table(table: Float[Tensor, "T F"]) -> Float[Tensor, "P"]:
    """Convert our table to the parameters of a tiny-cuda-nn grid."""
    return table.flatten()


@lru_cache(maxsize=32)
def encoding_config(grid: Grid) -> dict[str, Any] | None:
    """The tiny-cuda-nn config of the grid, or None if tiny-cuda-nn does not support it."""
    first, last, steps = grid.levels[0], grid.levels[-1], len(grid.levels) - 1
    base = round(first.scale) + 1
    growth = ((last.scale + 1) / base) ** (1 / max(steps, 1))
    log2_rows = ceil(log2(max(level.rows for level in grid.levels)))
    for level, theirs in zip(grid.levels, hash_levels(steps + 1, log2_rows, base, growth), strict=True):
        same = (level.shift, level.side, level.last, level.rows) == (theirs.shift, theirs.side, theirs.last, theirs.rows)
        if not same or not isclose(level.scale, theirs.scale, rel_tol=1e-6):
            return None
    if grid.features not in (1, 2, 4, 8):
        return None
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": steps + 1,
        "n_features_per_level": grid.features,
        "log2_hashmap_size": log2_rows,
        "base_resolution": base,
        "per_level_scale": growth,
        "interpolation": "Linear",
    }


def gather(points: Points, table: Table, tangent: Points | None, grid: Grid) -> Encoded:
    """out[n, l] = sum over corners k of weight_k table[row_k]."""
    if encoding_config(grid) is None:
        return reference.gather(points, table, tangent, grid)
    if tangent is None:
        with torch.no_grad():
            return _encode(points, table, grid)
    cotangent = points.new_zeros(len(points), grid.width).requires_grad_()
    (out,) = grad(_point_gradient(points.detach().requires_grad_(), table, cotangent, grid), cotangent, tangent)
    return out


def scatter(points: Points, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Table:
    """out[row_k] = sum over points n of weight_k cotangent[n, l]."""
    if encoding_config(grid) is None:
        return reference.scatter(points, cotangent, tangent, grid)
    table = cotangent.new_zeros(grid.rows, grid.features).requires_grad_()
    if tangent is None:
        with torch.enable_grad():
            encoded = _encode(points.detach(), table, grid)
        (out,) = grad(encoded, table, cotangent)
    else:
        (out,) = grad(_point_gradient(points.detach().requires_grad_(), table, cotangent.detach(), grid), table, tangent)
    return out


def point_gradient(points: Points, table: Table, cotangent: Encoded, tangent: Points | None, grid: Grid) -> Points:
    """out[n] = sum over levels and corners k of grad weight_k (table[row_k] . cotangent[n, l])."""
    if encoding_config(grid) is None:
        return reference.point_gradient(points, table, cotangent, tangent, grid)
    points = points.detach().requires_grad_()
    # which second derivatives it computes depends on the requires_grad flags of the first pass
    first = _point_gradient(points, table.detach().requires_grad_(tangent is not None), cotangent.detach().requires_grad_(), grid)
    if tangent is None:
        return first.detach()
    (out,) = grad(first, points, tangent)
    return out


def _point_gradient(points: Tensor, table: Tensor, cotangent: Tensor, grid: Grid) -> Points:
    """Gradient with respect to the points by its own backward pass, with a graph."""
    with torch.enable_grad():
        (first,) = grad(_encode(points, table, grid), points, cotangent, create_graph=True)
    return first


def _encode(points: Tensor, table: Tensor, grid: Grid) -> Encoded:
    """Forward pass of tiny-cuda-nn, whose points are in [0, 1]^3."""
    return functional_call(_encoding(grid), {"params": parameters_from_table(table)}, ((points + 1) / 2,))


@lru_cache(maxsize=8)
def _encoding(grid: Grid) -> torch.nn.Module:
    """The tiny-cuda-nn module of this grid, with its parameters freed.

    Raises:
        UserError: its table has a different size from ours.
    """
    encoding = require("tinycudann").Encoding(3, encoding_config(grid), dtype=torch.float32)
    table_from_parameters(encoding.params.detach(), grid)
    encoding.params.data = encoding.params.data.new_empty(0)
    return encoding
