"""Adapters with stubs of the GPU-only packages, and our compositing against the CPU functions of nerfacc."""

import sys
from types import ModuleType

import pytest
import torch
from grid_scenes import GRIDS, difference, scene

from threefusion.errors import UserError
from threefusion.ops.adapters import tinycudann
from threefusion.ops.backend import backend
from threefusion.ops.grid import Grid, encode, hash_levels
from threefusion.ops.torch_kernels import grid as reference


def module(name, **contents):
    found = ModuleType(name)
    found.__dict__.update(contents)
    return found


class Encoding(torch.nn.Module):
    """Stub of tinycudann.Encoding: points in [0, 1]^3, flat parameters, the same derivatives."""

    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        super().__init__()
        cfg = encoding_config
        sizes = (cfg["n_levels"], cfg["log2_hashmap_size"], cfg["base_resolution"], cfg["per_level_scale"])
        self.grid = Grid(hash_levels(*sizes), cfg["n_features_per_level"])
        self.params = torch.nn.Parameter(torch.zeros(self.grid.rows * self.grid.features, dtype=dtype))

    def forward(self, x):
        with backend("torch"):
            return encode(2 * x - 1, self.params.reshape(self.grid.rows, self.grid.features), self.grid)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", module("tinycudann", Encoding=Encoding))
    tinycudann._encoding.cache_clear()
    yield
    tinycudann._encoding.cache_clear()


@pytest.mark.parametrize("tangent", [False, True], ids=["values", "tangents"])
@pytest.mark.parametrize("name", ["hash", "dense"])
def test_hash_grids_and_their_derivatives_through_tinycudann(tiny, name, tangent):
    grid = GRIDS[name]
    points, table, cotangent, along = scene(grid, 300)
    points, cotangent, along = (
        points[4:],
        cotangent[4:],
        along[4:] if tangent else None,
    )  # not on cell borders, where derivatives are discontinuous
    for kernel, arguments in (("gather", (table,)), ("scatter", (cotangent,)), ("point_gradient", (table, cotangent))):
        ours = getattr(reference, kernel)(points, *arguments, along, grid)
        theirs = getattr(tinycudann, kernel)(points, *arguments, along, grid)
        assert difference(theirs, ours) < 1e-4
        assert not theirs.requires_grad


@pytest.mark.parametrize(
    "sizes", [(16, 15, 16, 1.447), (16, 19, 16, 1.447269237), (1, 14, 8, 2.0), (4, 24, 5, 1.0), (12, 14, 16, 2.0)]
)
def test_a_grid_is_recognised_by_its_levels(sizes):
    levels, log2_rows, base, growth = sizes
    cfg = tinycudann.encoding_config(Grid(hash_levels(*sizes), 2))
    assert (cfg["n_levels"], cfg["base_resolution"]) == (levels, base)
    assert cfg["per_level_scale"] == pytest.approx(growth if levels > 1 else 1, rel=1e-6)
    assert cfg["log2_hashmap_size"] <= log2_rows
    again = Grid(hash_levels(levels, cfg["log2_hashmap_size"], base, cfg["per_level_scale"]), 2)
    assert again.offsets == Grid(hash_levels(*sizes), 2).offsets


def test_grids_that_tinycudann_does_not_support_have_no_config():
    assert tinycudann.encoding_config(GRIDS["dense"]) is None
    assert tinycudann.encoding_config(GRIDS["odd"]) is None  # three features


def test_tables_are_exchanged_with_tinycudann():
    grid = Grid(hash_levels(16, 19, 16, 1.447269237), 2)
    parameters = torch.arange(float(grid.rows * grid.features))
    table = tinycudann.table_from_parameters(parameters, grid)
    assert table.shape == (grid.rows, grid.features)
    # level after level, row after row
    assert table[grid.offsets[3], 1] == 2 * sum(level.rows for level in grid.levels[:3]) + 1
    assert torch.equal(tinycudann.parameters_from_table(table), parameters)
    with pytest.raises(UserError, match=f"expected {len(parameters)} for {grid.rows} rows of 2 features, got 7"):
        tinycudann.table_from_parameters(parameters[:7], grid)


COUNTS = [3, 0, 5, 1]
RAYS = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))


def packed_nerfacc():
    """Stub of the packed functions of nerfacc."""

    def pack_info(ray_indices, n_rays):
        counts = torch.bincount(ray_indices, minlength=n_rays)
        return torch.stack([counts.cumsum(0) - counts, counts], -1)

    def exclusive_sum(inputs, packed_info):
        return torch.cat([inputs[a : a + n].cumsum(0) - inputs[a : a + n] for a, n in packed_info.tolist()])

    def render_weight_from_density(t_starts, t_ends, sigmas, packed_info=None, ray_indices=None, n_rays=None):
        depths = sigmas * (t_ends - t_starts)
        trans, alphas = torch.exp(-exclusive_sum(depths, pack_info(ray_indices, n_rays))), 1 - torch.exp(-depths)
        return trans * alphas, trans, alphas

    def accumulate_along_rays(weights, values=None, ray_indices=None, n_rays=None):
        return values.new_zeros(n_rays, values.shape[1]).index_add(0, ray_indices, weights[:, None] * values)

    return module("nerfacc", **locals())


def test_compositing_through_nerfacc(monkeypatch):
    from threefusion.ops.adapters import nerfacc
    from threefusion.ops.torch_kernels import composite

    monkeypatch.setitem(sys.modules, "nerfacc", packed_nerfacc())
    generator = torch.Generator().manual_seed(0)
    depths, gradient = torch.rand(len(RAYS), generator=generator), torch.randn(len(RAYS), generator=generator)
    ours, theirs = (kernels.weights(depths, RAYS, len(COUNTS)) for kernels in (composite, nerfacc))
    assert all(difference(*pair) < 1e-6 for pair in zip(theirs, ours, strict=True))
    back = [kernels.weights_backward(gradient, *ours, RAYS, len(COUNTS)) for kernels in (nerfacc, composite)]
    assert difference(*back) < 1e-6
    values = torch.randn(len(RAYS), 3, generator=generator)
    sums = [kernels.weighted_sums(ours[0], values, RAYS, len(COUNTS)) for kernels in (nerfacc, composite)]
    assert difference(*sums) < 1e-6


def test_packed_weights_and_sums_are_those_of_nerfacc(each_backend):
    """nerfacc itself, on rays with equal numbers of samples, which it supports on CPUs."""
    nerfacc = pytest.importorskip("nerfacc")
    from threefusion.ops.composite import packed_weights, weighted_sums

    rays, steps = 7, 20
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(rays, steps + 1, generator=generator).cumsum(1)
    density = 2 * torch.rand(rays, steps, generator=generator)
    values, gradient = (torch.randn(rays, *shape, generator=generator) for shape in ((steps, 3), (3,)))
    results = []
    for ours in (True, False):
        given = density.clone().requires_grad_()
        if ours:
            ray_index = torch.arange(rays).repeat_interleave(steps)
            weights = packed_weights((given * edges.diff(dim=1)).flatten(), ray_index, rays)
            sums = weighted_sums(weights, values.flatten(0, 1), ray_index, rays)
        else:
            weights = nerfacc.render_weight_from_density(edges[:, :-1], edges[:, 1:], given)[0]
            sums = nerfacc.accumulate_along_rays(weights, values)
        sums.backward(gradient)
        results.append((weights.reshape(rays, steps), sums, given.grad))
    for fast, plain in zip(*results, strict=True):
        assert difference(fast.detach(), plain.detach()) < 1e-5
