"""Out-of-memory errors: detected, and retried with less."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""Messages of errors that have no class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: `torch.OutOfMemoryError`, `MemoryError`, or what torch says on a processor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def retry_on_oom(attempt: Callable[[], Result], on_oom: Callable[[], None]) -> Result:
    """The result of `attempt`, repeated after `on_oom` for as long as it runs out of memory.

    `on_oom` makes the next attempt need less, or raises.
    """
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # only out here is the traceback gone, and with it every tensor of the failed attempt
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        on_oom()
