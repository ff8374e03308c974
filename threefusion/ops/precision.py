"""Mixed precision: operations and their derivatives compute in float32 whatever autocast or the caller has."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def in_float32(operation: Callable[..., Result]) -> Callable[..., Result]:
    """`operation` with autocast off and half-precision tensors among its arguments converted to float32."""

    @wraps(operation)
    def call(*arguments: Any) -> Result:
        device = next(value.device for value in arguments if isinstance(value, Tensor))
        with torch.autocast(device.type, enabled=False):
            return operation(*map(_widened, arguments))

    return call


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) else value
