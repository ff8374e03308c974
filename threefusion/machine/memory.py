"""When memory does not suffice: knowing it, and trying again with less."""

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
"""How libraries say it that have no error class of their own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: `torch.OutOfMemoryError`, `MemoryError`, or what torch says on a processor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def until_it_fits(attempt: Callable[[], Result], give_way: Callable[[], None]) -> Result:
    """attempt(), and again after `give_way` for as long as it runs out of memory.

    `give_way` makes the next attempt need less, or raises.
    """
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # only out here is the traceback gone, and with it everything that the failed attempt had made
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        give_way()
