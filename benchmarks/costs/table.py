"""The table of costs, and times measured beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.costs.count import Cost, count
from benchmarks.costs.gpus import BANDWIDTH, COMPUTE, GPU
from benchmarks.costs.shapes import Shape
from threefusion.perf.timing import device_clock, interleave, plain

META = torch.device("meta")
DTYPE = torch.bfloat16
"""Of all networks; float16 costs the same."""
FULL = 0.95
"""Share of a GPU's memory that weights and kept activations may take."""


@dataclass(frozen=True)
class Row:
    """One network at one number of views."""

    shape: Shape
    views: int
    cost: Cost
    expected: dict[str, float | None]
    """Milliseconds by GPU; None where it does not fit."""
    measured: float | None = field(default=None)
    """Milliseconds on the GPU of this machine."""


def rows(shapes: Sequence[Shape], views: Sequence[int], gpus: Sequence[GPU]) -> list[Row]:
    """The costs of all networks at all numbers of views."""
    table = []
    for shape in shapes:
        network = shape.network(META, DTYPE)
        for number in views:
            cost = count(shape.call(network, number, META, DTYPE), [*network.parameters(), *network.buffers()])
            table.append(Row(shape, number, cost, {gpu.name: expected(cost, gpu) for gpu in gpus}))
    return table


def expected(cost: Cost, gpu: GPU) -> float | None:
    """Milliseconds, or None where weights and kept activations do not fit."""
    return cost.milliseconds(gpu) if cost.weights + cost.kept < FULL * gpu.gb * 1e9 else None


def measured(shape: Shape, views: int, device: torch.device, repetitions: int = 9) -> float:
    """Milliseconds of the call on a CUDA device, eager, the median."""
    network = shape.network(device, DTYPE)
    return measure_call(shape.call(network, views, device, DTYPE), repetitions)


def measure_call(call: Any, repetitions: int) -> float:
    """The median time of a call by CUDA events."""
    return interleave([plain(call)], repetitions, device_clock)[0].median


def as_markdown(table: Sequence[Row], gpus: Sequence[GPU]) -> str:
    """Assumptions, the GPUs and the rows; a measured time with its ratio to the one expected of the first GPU."""
    has_times = any(row.measured is not None for row in table)
    heads = ["network", "pixels", "views", "TFLOP", "kernels", "weights GB", "traffic GB", "kept GB", *(gpu.name for gpu in gpus)]
    lines = [line(heads + ["measured", "/ expected"] * has_times), line(["---"] * (len(heads) + 2 * has_times))]
    lines += [line(cells(row, gpus, has_times)) for row in table]
    sheets = [f"[{gpu.name}]({gpu.source}) {gpu.tflops:g} TFLOP/s, {gpu.gb_per_second:,} GB/s, {gpu.gb} GB" for gpu in gpus]
    shares = f"{COMPUTE:.0%} of the peak of matrix products, or {BANDWIDTH:.0%} of that of memory"
    return "\n".join([f"Half precision, eager; {shares}, without sparsity:", "; ".join(sheets) + ".", "", *lines])


def cells(row: Row, gpus: Sequence[GPU], has_times: bool) -> list[str]:
    """Of one row of the table."""
    cost = row.cost
    texts = [row.shape.name, f"{row.shape.pixels}", f"{row.views}", f"{cost.flops / 1e12:.2f}", f"{len(cost.kernels)}"]
    texts += [f"{size / 1e9:.1f}" for size in (cost.weights, cost.traffic, cost.kept)]
    texts += [short(row.expected[gpu.name]) for gpu in gpus]
    if has_times:
        wanted = row.expected[gpus[0].name]
        ratio = "" if row.measured is None or not wanted else f"{row.measured / wanted:.2f}"
        texts += [short(row.measured), ratio]
    return texts


def short(milliseconds: float | None) -> str:
    """Three digits, or all before the point."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:,.0f}" if milliseconds > 99 else f"{milliseconds:.3g}"


def line(texts: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(texts)} |"


def as_data(table: Sequence[Row]) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {
            "network": row.shape.name, "pixels": row.shape.pixels, "views": row.views, "flops": row.cost.flops,
            "kernels": len(row.cost.kernels), "weight_bytes": row.cost.weights, "traffic_bytes": row.cost.traffic,
            "kept_bytes": row.cost.kept, "expected_ms": row.expected, "measured_ms": row.measured,
        }
        for row in table
    ]  # fmt: skip
