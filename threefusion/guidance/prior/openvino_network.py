"""Frozen networks on OpenVINO, which runs convolutions and attention on processors faster than torch does."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from threefusion.machine.optional import require

PRECISION = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
"""OpenVINO's names of the precisions that networks run in."""


def import_openvino() -> Any:
    """The package, without the message that its import sends to its authors: it does so where it has this companion.

    Raises:
        MissingPackageError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)
    return require("openvino")


class OpenVINONetwork:
    """Calls a frozen network that OpenVINO compiles once for each shape of its inputs, in the network's own precision.

    A call that has to be differentiated runs the network itself. The threads are torch's at the first call of a shape: with other
    numbers of threads, sums are added in another order.
    """

    def __init__(self, network: nn.Module, **options: Any) -> None:
        self.network, self.options = network, options
        self._compiled: dict[tuple[Any, ...], Callable[..., Tensor]] = {}
        import_openvino()

    def __call__(self, *inputs: Tensor) -> Any:
        """What the network returns, in float32."""
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*inputs, *self.network.parameters())):
            return self.network(*inputs, **self.options)
        key = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self._compiled:
            self._compiled[key] = self._compile(inputs)
        return self._compiled[key](*inputs)

    def _compile(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        openvino = import_openvino()
        dtype = next(self.network.parameters()).dtype
        # weights are read in float32, whose values a lower precision gives back
        traced = _FirstOutput(copy.deepcopy(self.network).float(), self.options)
        samples = tuple(_float32(tensor) for tensor in inputs)
        with torch.no_grad(), warnings.catch_warnings():
            # shapes are constants on purpose, and OpenVINO traces as torch wishes it no longer did
            for category in (torch.jit.TracerWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            model = openvino.convert_model(traced, example_input=samples, input=[list(tensor.shape) for tensor in samples])
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISION[dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
        is_tuple = traced.is_tuple

        def call(*values: Tensor) -> Any:
            arrays = [_float32(tensor).contiguous().numpy() for tensor in values]
            result = torch.from_numpy(request.infer(arrays, share_inputs=True)[0])
            return (result,) if is_tuple else result

        return call


class _FirstOutput(nn.Module):
    """A network whose first output is all that is used."""

    def __init__(self, network: nn.Module, options: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.options = network, options
        self.is_tuple = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """The first of several outputs, or the only one."""
        outputs = self.network(*inputs, **self.options)
        self.is_tuple = isinstance(outputs, tuple)
        return outputs[0] if self.is_tuple else outputs


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor
