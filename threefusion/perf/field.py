"""The parts of a field: its encoding and its network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from threefusion.geometry.mlp import plain_network
from threefusion.guidance.prior.precision import processor_has_bfloat16
from threefusion.ops.backend import BACKENDS
from threefusion.ops.grid import encode, encode_vjp
from threefusion.perf.scene import GRID, HIDDEN, OUTPUTS, SEED
from threefusion.perf.timing import Candidate, on, runnable


def encode_candidates(points: Sequence[int], device: torch.device) -> Iterator[Candidate]:
    """The fixed scene's hash grid at random points: forward + backward to the table, forward alone, pull to the points."""
    for count in points:
        for name in runnable(device, "grid"):
            for case, call in _encode_calls(count, device).items():
                yield Candidate(name, case, {"points": count}, on(name, call))


def _encode_calls(count: int, device: torch.device) -> dict:
    random = torch.Generator().manual_seed(SEED)
    points = (torch.rand(count, 3, generator=random) * 2 - 1).to(device)
    table = torch.randn(GRID.rows, GRID.features, generator=random).to(device).requires_grad_()
    cotangent = torch.randn(count, GRID.width, generator=random).to(device)

    def both() -> None:
        table.grad = None
        encode(points, table, GRID).backward(cotangent)

    return {
        "forward+backward": both,
        "forward": torch.no_grad()(lambda: encode(points, table, GRID)),
        "pull": torch.no_grad()(lambda: encode_vjp(points, table, cotangent, GRID)),
    }


def mlp_candidates(points: Sequence[int], device: torch.device) -> Iterator[Candidate]:
    """The fixed scene's network layer by layer, in pieces and by the kernels of other backends, and under autocast to bfloat16
    where the device multiplies that."""
    names = ["torch", "pieces", *runnable(device, "relu_network")[1:]]
    if device.type == "cuda" or processor_has_bfloat16():
        names.append("torch-bfloat16")
    for count in points:
        for name in names:
            for case, backward in (("forward+backward", True), ("forward", False)):
                call = _mlp_call(count, name, backward, device)
                yield Candidate(name, case, {"points": count}, on(name if name in BACKENDS else "torch", call))


def _mlp_call(count: int, name: str, backward: bool, device: torch.device):
    random = torch.Generator().manual_seed(SEED)
    network = plain_network(GRID.width, OUTPUTS, HIDDEN, 1).to(device)
    # in the memory layout of an encoding
    encoded = torch.randn(GRID.width, count, generator=random).to(device).t().requires_grad_(backward)
    cotangent = torch.randn(count, OUTPUTS, generator=random).to(device)

    def call() -> None:
        network.zero_grad()
        encoded.grad = None
        precision = torch.autocast(device.type, torch.bfloat16) if name == "torch-bfloat16" else nullcontext()
        with torch.set_grad_enabled(backward), precision:
            out = nn.Sequential.forward(network, encoded) if name.startswith("torch") else network(encoded)
        if backward:
            out.backward(cotangent.to(out.dtype))

    return call
