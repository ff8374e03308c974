"""Frozen networks on OpenVINO, which runs convolutions and attention on processors faster than torch does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from threefusion.guidance.prior.export import exported, precision_hint, runtime
from threefusion.machine.optional import require
from threefusion.machine.process import cores

SIZES = (1, 2, 3, 4, 6, 8)
"""Batch sizes that networks are exported for, if the items of a batch do not depend on each other; 3 is that of two views of
which one has guidance."""


def import_openvino() -> Any:
    """The package, without the message that its import sends to its authors: it does so where it has this companion.

    Raises:
        MissingPackageError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)
    return require("openvino")


def network_threads() -> int:
    """Threads of a network's call, also where torch does its small work with one: OMP_NUM_THREADS, else this process's cores."""
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdecimal() and int(configured):
        return int(configured)
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    processes = torch.distributed.get_world_size() if distributed else 1
    return max(cores() // processes, 1)


class OpenVINONetwork:
    """Calls a frozen network that OpenVINO compiles once for each shape of its inputs, in the network's own precision.

    A call that has to be differentiated runs the network itself. If the items of a batch are `independent` of each other, a batch
    is split and filled up to one of `SIZES`, so that few shapes occur. `identity` is as in `exported`.
    """

    def __init__(self, network: nn.Module, identity: str = "", independent: bool = False, **options: Any) -> None:
        self.network, self.options = network, options
        self.identity, self.independent = identity, independent
        self.precision = precision_hint(network)
        self.latest: Compiled | None = None
        """What the last call ran."""
        self._compiled: dict[tuple[Any, ...], Compiled] = {}
        import_openvino()

    def __call__(self, *inputs: Tensor) -> Any:
        """What the network returns, in float32: the first of several outputs."""
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*inputs, *self.network.parameters())):
            return self.network(*inputs, **self.options)
        inputs = tuple(_float32(tensor) for tensor in inputs)
        if self.independent and len({len(tensor) for tensor in inputs}) == 1:
            parts = zip(*(tensor.split(SIZES[-1]) for tensor in inputs), strict=True)
            outputs = [self._run(_filled(part))[: len(part[0])] for part in parts]
        else:
            outputs = [self._run(inputs)]
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return (output,) if self.latest.is_tuple else output

    def _run(self, inputs: tuple[Tensor, ...]) -> Tensor:
        key = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self._compiled:
            self._compiled[key] = Compiled(*exported(self.network, self.options, inputs, self.identity), self.precision)
        self.latest = self._compiled[key]
        return self.latest(inputs)


class Compiled:
    """A network that was exported for inputs of one shape, on as many threads as `network_threads` says.

    Threads are not bound to cores: those of several processes would all be bound to the same ones.
    """

    def __init__(self, content: bytes, path: Path, precision: dict[str, str]) -> None:
        self.path, self.is_tuple = path, bool(content[0])
        settings = {
            "INFERENCE_NUM_THREADS": network_threads(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
            # a blob does not hold it
            **precision,
        }
        self._request = runtime().import_model(content[1:], "CPU", settings).create_infer_request()

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The output."""
        return torch.from_numpy(self._request.infer([tensor.contiguous().numpy() for tensor in inputs], share_inputs=True)[0])


def _filled(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs whose last item is repeated until there are as many as one of `SIZES`."""
    missing = next(size for size in SIZES if size >= len(inputs[0])) - len(inputs[0])
    return tuple(torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) for tensor in inputs) if missing else inputs


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor
