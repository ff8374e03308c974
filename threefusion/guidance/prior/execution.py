"""Ways to execute a frozen network: eager, compiled, on OpenVINO, as a captured CUDA graph, or with weights in main memory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from threefusion.errors import UserError
from threefusion.guidance.prior.openvino_network import OpenVINONetwork
from threefusion.guidance.prior.traced import Traced

LARGEST = 100_000_000
"""Weights of the largest network that `auto` prepares."""
Call = Callable[..., Any]
"""Takes the network's inputs, tensors all of them, and returns what the network returns."""


def runner(
    network: nn.Module, execution: str, device: torch.device, identity: str = "", independent: bool = False, **options: Any
) -> Call:
    """A callable that runs the frozen `network` on `device`: "eager", "auto", "compile", "openvino" or "cuda-graph".

    For "auto" it is eager, with the same bits in less time where that is possible.

    `options` are keywords of its forward method. `identity` and `independent` are as in `OpenVINONetwork`.

    Raises:
        UserError: this machine does not support it.
    """
    if execution == "cuda-graph":
        if device.type != "cuda":
            raise UserError(f"guidance.prior.execution: cuda-graph needs a CUDA device, and this run is on {device.type}")
        return Graphed(lambda *inputs: network(*inputs, **options))
    if execution == "openvino":
        if device.type != "cpu":
            raise UserError(f"guidance.prior.execution: openvino runs on the CPU, and this run is on {device.type}")
        return OpenVINONetwork(network, identity, independent, **options)
    if execution == "compile":
        missing = missing_for_compiling(device)
        if missing:
            raise UserError(f"guidance.prior.execution: compile needs {missing}, which is not installed; eager needs nothing")
        network = torch.compile(network, dynamic=False)
    if execution == "auto" and device.type == "cpu" and is_small(network):
        return Traced(network, **options)
    return lambda *inputs: network(*inputs, **options)


def is_small(network: nn.Module) -> bool:
    """Whether `auto` prepares a network: that takes time, and further copies of it."""
    return sum(parameter.numel() for parameter in network.parameters()) <= LARGEST


def missing_for_compiling(device: torch.device) -> str | None:
    """What torch.compile needs and this machine lacks."""
    if device.type != "cpu":
        return None if find_spec("triton") else "the package triton"
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual)
    return None if shutil.which(compiler) else f"a C++ compiler ({compiler})"


class Offloaded:
    """Calls a network whose weights stay in main memory: each call brings copies to the device, which live as long as needed.

    Without gradient that is for the call; with it until the backward pass is over, because autograd holds them. Nothing is
    copied back.
    """

    def __init__(self, network: nn.Module, device: torch.device, **options: Any) -> None:
        self.network, self.device, self.options = network, device, options
        if device.type == "cuda":
            # page-locked, or the copies would be slow and make the host wait
            network._apply(Tensor.pin_memory)

    def __call__(self, *inputs: Tensor) -> Any:
        """What the network returns, on the device."""
        return functional_call(self.network, self.weights(), inputs, self.options)

    def weights(self) -> dict[str, Tensor]:
        """Copies on the device, by name."""
        named = chain(self.network.named_parameters(), self.network.named_buffers())
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in named}


class Graphed:
    """Captures a call as a CUDA graph for each shape of its inputs and replays it: one launch instead of a thousand.

    With gradient the backward pass is captured too. Its activations lie in fixed memory, so each call has to be followed by its
    backward pass before the next call of the same shape, as it is in training.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._captured: dict[tuple[Any, ...], Call] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """What the call returns, in memory of its own."""
        differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        key = (differentiable, *((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs))
        if key not in self._captured:
            capture = capture_with_gradient if differentiable else capture_forward
            self._captured[key] = capture(self._call, inputs)
        return self._captured[key](*inputs)


def capture_forward(call: Call, inputs: tuple[Tensor, ...]) -> Call:
    """`call` without gradient as a graph for inputs of these shapes. Not run on a GPU yet."""
    fixed = [tensor.detach().clone() for tensor in inputs]
    # libraries choose their algorithms and allocate workspaces in their first calls, which must not be captured
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            call(*fixed)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        results = call(*fixed)

    def replay(*values: Tensor) -> Any:
        for target, value in zip(fixed, values, strict=True):
            target.copy_(value)
        graph.replay()
        return _cloned(results)

    return replay


def capture_with_gradient(call: Call, inputs: tuple[Tensor, ...]) -> Call:
    """`call` and its backward pass as graphs for inputs of these shapes. Not run on a GPU yet."""
    samples = tuple(tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in inputs)
    graphed = torch.cuda.make_graphed_callables(call, samples)
    return lambda *values: _cloned(graphed(*values))


def _cloned(results: Any) -> Any:
    return results.clone() if isinstance(results, Tensor) else tuple(result.clone() for result in results)
