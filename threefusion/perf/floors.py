"""Measures what the machine can do, among the candidates and by the same clock."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from threefusion.guidance.prior.precision import processor_has_bfloat16
from threefusion.ops.backend import installed
from threefusion.perf.timing import Call, Timing, plain
from threefusion.perf.work import Rates

GATHER_ROWS = 2**15
"""Rows of the table that is gathered from: a level of the fixed scene's hash grid, 256 KiB."""
INDICES = 2**14
ROUNDS = 1024
"""How often each index is used in one call."""


@dataclass(frozen=True)
class Probe:
    """A call, and how much work it does."""

    rate: str
    """`gather`, `update`, `copy`, or the data type of a matrix product."""
    call: Call
    amount: int


def probes(device: torch.device) -> list[Probe]:
    """What measures every rate of `Rates` on `device`."""
    dtypes = ["float32", *(["bfloat16"] if device.type == "cuda" or processor_has_bfloat16() else [])]
    dtypes += ["float16"] if device.type == "cuda" else []
    compiled = device.type == "cpu" and installed("numba")
    table_probes = (_compiled_gather, _compiled_update) if compiled else (_torch_gather, _torch_update)
    return [*(_gemm(dtype, device) for dtype in dtypes), *(make(device) for make in table_probes), _copy(device)]


def rates(measured: list[Probe], timings: list[Timing]) -> Rates:
    """Work over median time."""
    found = {probe.rate: probe.amount / timing.median * 1000 for probe, timing in zip(measured, timings, strict=True)}
    gather, update, copy = (found.pop(name) for name in ("gather", "update", "copy"))
    return Rates(found, gather, update, copy)


def _gemm(dtype: str, device: torch.device) -> Probe:
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    out = torch.empty_like(a)
    return Probe(dtype, plain(lambda: torch.mm(a, a, out=out)), 2 * size**3)


def _copy(device: torch.device) -> Probe:
    source = torch.ones(2**28 if device.type == "cuda" else 2**23, device=device)
    target = torch.empty_like(source)
    return Probe("copy", plain(lambda: target.copy_(source)), 2 * source.nbytes)


def _torch_gather(device: torch.device) -> Probe:
    # a row of two float32 as one float64, which a single load reads
    table, index = torch.randn(GATHER_ROWS, dtype=torch.float64, device=device), _index(2**20, device)
    out = torch.empty(len(index), dtype=torch.float64, device=device)
    return Probe("gather", plain(lambda: torch.index_select(table, 0, index, out=out)), len(index))


def _torch_update(device: torch.device) -> Probe:
    columns, index = torch.zeros(2, GATHER_ROWS, device=device), _index(2**20, device)
    ones = torch.ones(len(index), device=device)
    return Probe("update", plain(lambda: [column.scatter_add_(0, index, ones) for column in columns]), len(index))


def _compiled_gather(device: torch.device) -> Probe:
    from threefusion.ops.numba_kernels.compile import array
    from threefusion.ops.parallel import run, threads
    from threefusion.perf.numba_probes import gather

    table, index = array(torch.arange(GATHER_ROWS)), array(_index(INDICES, device).int())
    out = array(torch.zeros(threads(), dtype=torch.int64))
    return Probe("gather", plain(lambda: run(gather, table, index, ROUNDS, out)), INDICES * ROUNDS)


def _compiled_update(device: torch.device) -> Probe:
    from threefusion.ops.numba_kernels.compile import array
    from threefusion.ops.parallel import run, threads
    from threefusion.perf.numba_probes import update

    tables, index = array(torch.zeros(threads(), GATHER_ROWS, 2)), array(_index(INDICES, device).int())
    return Probe("update", plain(lambda: run(update, tables, index, ROUNDS)), INDICES * ROUNDS)


def _index(count: int, device: torch.device) -> torch.Tensor:
    return torch.randint(GATHER_ROWS, (count,), generator=torch.Generator().manual_seed(0)).to(device)
