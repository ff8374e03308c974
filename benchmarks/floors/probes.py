"""Measures the machine's own rates, interleaved with the candidates of `perf` and by the same clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from benchmarks.floors.work import Rates
from threefusion.guidance.prior.precision import processor_has_bfloat16
from threefusion.ops.backend import installed
from threefusion.perf.timing import Candidate, plain

GATHER_ROWS = 2**15
"""Rows of the table that is gathered from: a level of the fixed scene's hash grid, 256 KiB."""
INDICES = 2**14
ROUNDS = 1024
"""How often each index is used in one call."""


PROBE = "probe"
"""The case of candidates that measure a rate: `gather`, `update`, `copy`, or the data type of a matrix product."""


def probes(device: torch.device) -> list[Candidate]:
    """What measures every rate of `Rates` on `device`."""
    dtypes = ["float32", *(["bfloat16"] if device.type == "cuda" or processor_has_bfloat16() else [])]
    dtypes += ["float16"] if device.type == "cuda" else []
    compiled = device.type == "cpu" and installed("numba")
    table_probes = (_compiled_gather, _compiled_update) if compiled else (_torch_gather, _torch_update)
    return [*(_gemm(dtype, device) for dtype in dtypes), *(make(device) for make in table_probes), _copy(device)]


def rates(rows: Iterable[dict[str, Any]]) -> Rates:
    """Work over median time, from the rows of the probes."""
    rate = {row["name"]: row["amount"] / row["ms"] * 1000 for row in rows}
    gather, update, copy = (rate.pop(name) for name in ("gather", "update", "copy"))
    return Rates(rate, gather, update, copy)


def _probe(rate: str, function: Callable[[], Any], amount: int) -> Candidate:
    return Candidate(rate, PROBE, {}, plain(function), {"amount": amount})


def _gemm(dtype: str, device: torch.device) -> Candidate:
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    out = torch.empty_like(a)
    return _probe(dtype, lambda: torch.mm(a, a, out=out), 2 * size**3)


def _copy(device: torch.device) -> Candidate:
    source = torch.ones(2**28 if device.type == "cuda" else 2**23, device=device)
    target = torch.empty_like(source)
    return _probe("copy", lambda: target.copy_(source), 2 * source.nbytes)


def _torch_gather(device: torch.device) -> Candidate:
    # a row of two float32 as one float64, which a single load reads
    table, index = torch.randn(GATHER_ROWS, dtype=torch.float64, device=device), _index(2**20, device)
    out = torch.empty(len(index), dtype=torch.float64, device=device)
    return _probe("gather", lambda: torch.index_select(table, 0, index, out=out), len(index))


def _torch_update(device: torch.device) -> Candidate:
    columns, index = torch.zeros(2, GATHER_ROWS, device=device), _index(2**20, device)
    ones = torch.ones(len(index), device=device)
    return _probe("update", lambda: [column.scatter_add_(0, index, ones) for column in columns], len(index))


def _compiled_gather(device: torch.device) -> Candidate:
    from benchmarks.floors.numba_probes import gather
    from threefusion.ops.numba_kernels.compile import array
    from threefusion.ops.parallel import run, threads

    table, index = array(torch.arange(GATHER_ROWS)), array(_index(INDICES, device).int())
    out = array(torch.zeros(threads(), dtype=torch.int64))
    return _probe("gather", lambda: run(gather, table, index, ROUNDS, out), INDICES * ROUNDS)


def _compiled_update(device: torch.device) -> Candidate:
    from benchmarks.floors.numba_probes import update
    from threefusion.ops.numba_kernels.compile import array
    from threefusion.ops.parallel import run, threads

    tables, index = array(torch.zeros(threads(), GATHER_ROWS, 2)), array(_index(INDICES, device).int())
    return _probe("update", lambda: run(update, tables, index, ROUNDS), INDICES * ROUNDS)


def _index(count: int, device: torch.device) -> torch.Tensor:
    return torch.randint(GATHER_ROWS, (count,), generator=torch.Generator().manual_seed(0)).to(device)
