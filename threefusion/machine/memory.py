"""Available memory; detection and retry of out-of-memory errors."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
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


def peak_bytes(device: torch.device) -> int | None:
    """The most bytes that this process has held on the device: tensors on a GPU, else all of its main memory."""
    if device.type != "cuda":
        return peak_resident_bytes()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def peak_resident_bytes() -> int | None:
    """The most bytes that this process has held in main memory; None where the system does not count them."""
    status = Path("/proc/self/status")
    if status.exists():
        # of this program alone: getrusage also counts what the process held before it became this program
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    try:
        import resource
    except ImportError:
        return None
    # Linux counts kibibytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int | None:
    """The bytes that this process holds in main memory; None where the system is not Linux."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else None


def free_bytes(device: torch.device) -> int | None:
    """What this process may hold on the device, including what it holds already; None where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    information = Path("/proc/meminfo")
    if device.type != "cpu" or not information.exists():
        return None
    lines = dict(line.split(":") for line in information.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 + (resident_bytes() or 0)
