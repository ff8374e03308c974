"""The counts behind the floors, against counts by hand and by torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.floors.work import (
    FIELD,
    Field,
    Rates,
    Work,
    composite_work,
    encode_work,
    march_work,
    mlp_flops,
    mlp_work,
    pull_work,
    rasterize_work,
    step_work,
)
from threefusion.geometry.mlp import plain_network
from threefusion.ops.torch_kernels.grid import corners
from threefusion.perf.scene import GRID

SMALL = Field(levels=4, features=2, hidden=16, outputs=4, rows=100)


def test_a_floor_is_the_sum_of_work_over_rates() -> None:
    rates = Rates({"float32": 100.0, "bfloat16": 400.0}, gather=10.0, update=5.0, copy=1000.0)
    work = Work(flops=50, gathers=20, updates=20, traffic=500)
    assert work.floor_ms(rates) == pytest.approx(1000 * (0.5 + 2 + 4 + 0.5))
    assert Work(flops=50, dtype="bfloat16").floor_ms(rates) == pytest.approx(125)
    # a type whose rate was not measured matters only where there are products of it
    assert Work(dtype="float16", gathers=10).floor_ms(rates) == pytest.approx(1000)


def layer_by_layer() -> nn.Sequential:
    """Torch's counter follows ordinary operations only, not those that write into given memory."""
    return nn.Sequential(*plain_network(32, 4, 64, 1))


@pytest.mark.parametrize("backward", [False, True])
def test_flops_of_a_network_are_what_torch_counts(backward: bool) -> None:
    network, points = layer_by_layer(), torch.randn(10, 32, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        out = network(points)
        if backward:
            out.sum().backward()
    assert mlp_flops((32, 64, 4), 10, backward) == counter.get_total_flops()


def test_flops_of_normals_are_what_torch_counts() -> None:
    # torch's counter follows gradients in the inputs of a module only where these were computed
    network, encoded = layer_by_layer(), 1 * torch.randn(10, 32, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        raw = network(encoded)
        (cotangent,) = torch.autograd.grad(raw[:, 0].sum(), encoded, create_graph=True)
        (raw.sum() + cotangent.square().sum()).backward()
    assert mlp_flops((32, 64, 4), 10, normals=True) == counter.get_total_flops()


def test_as_many_rows_are_touched_as_there_are_corners() -> None:
    points = torch.rand(7, 3)
    found = sum(corners(points, level)[0].numel() for level in GRID.levels)
    assert FIELD.touched(7) == found == 7 * 16 * 8


def test_traffic_by_hand() -> None:
    # 10 points of 12 bytes, encodings of 8 numbers; backward the same again and a table of 100 rows of 2
    assert encode_work(SMALL, 10, backward=False) == Work(gathers=320, traffic=10 * (12 + 32))
    assert encode_work(SMALL, 10, backward=True) == Work(gathers=320, updates=320, traffic=2 * 10 * (12 + 32) + 800)
    assert pull_work(SMALL, 10) == Work(gathers=320, traffic=10 * (12 + 32 + 12))
    # begin, end and an int64 per sample
    assert march_work(50, 10) == Work(gathers=50, traffic=160)
    # forward: depth 4, ray 8, 5 values 20, weight 4; backward: weight 4, ray 8, values 20, their gradient 20, the depth's 4
    assert composite_work(10, 5) == Work(traffic=10 * (36 + 56))
    assert rasterize_work(20, 65, 100) == Work(gathers=60, updates=65, traffic=100 * 24)
    # 8 + 16 + 4 numbers a point, five times; half as wide in half precision
    assert mlp_work(SMALL.widths, 10, "float32", backward=True).traffic == 10 * 28 * 4 * 5
    assert mlp_work(SMALL.widths, 10, "bfloat16", backward=False).traffic == 10 * 28 * 2 * 2


def test_a_step_by_hand() -> None:
    albedo = step_work(SMALL, 10, 50, 1000, normals=False)
    # 8 * 16 + 16 * 4 = 192 weights, 6 flops each; Adam moves 28 bytes a parameter
    assert albedo.flops == 10 * 192 * 6
    assert (albedo.gathers, albedo.updates) == (320 + 50, 320)
    assert albedo.traffic == 10 * 4 * 5 * (28 + 6) + 160 + 28000
    normals = step_work(SMALL, 10, 50, 1000, normals=True)
    assert normals.flops == 10 * (192 * 8 + 4 * 128 + 2 * 64)
    assert (normals.gathers, normals.updates) == (3 * 320 + 50, 2 * 320)
    assert normals.traffic == albedo.traffic + 10 * 4 * 5 * (16 + 8 + 3)
