"""The backends that can run on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from threefusion.ops.backend import BACKENDS, DEVICES, MODULES, backend, installed


def runnable(device: torch.device, *operations: str) -> list[str]:
    """`torch`, and the backends that can run here and have kernels of their own for one of `operations`."""
    able = [name for name in BACKENDS if DEVICES.get(name) == device.type and installed(name)]
    return ["torch", *(name for name in able if any((name, operation) in MODULES for operation in operations))]


def on(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` on backend `name`."""

    @wraps(function)
    def chosen(*arguments: Any) -> Any:
        with backend(name):
            return function(*arguments)

    return chosen
