"""How many bytes of tensors are alive, and how many were at most."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """A meter that sees every operation: storages it makes are counted until they are freed, whatever the device.

    What a kernel allocates for itself and frees before it returns is not seen, and while somebody watches autograd adds gradients
    of one tensor into a new one instead of in place; a test compares this count with torch's profiler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self._begun = 0
        self._lap: list[int] = []
        self._known: set[int] = set()

    def lap(self) -> list[int]:
        """Bytes alive when the last lap ended, then after every operation that changed them: the largest is the peak."""
        lap, self._lap = [self._begun, *self._lap], []
        self._begun = self.now
        return lap

    def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple = (), keywords: dict | None = None) -> Any:
        """Run the operation; storages of its arguments were there before, all others of its results are new."""
        keywords = keywords or {}
        self._meet(tree_leaves((arguments, keywords)), counted=False)
        result = function(*arguments, **keywords)
        self._meet(tree_leaves(result), counted=True)
        if self.now != (self._lap or [self._begun])[-1]:
            self._lap.append(self.now)
        return result

    def _meet(self, values: Iterable[Any], counted: bool) -> None:
        for value in values:
            if not isinstance(value, Tensor) or value.layout != torch.strided:
                continue
            storage = value.untyped_storage()
            if id(storage) in self._known:
                continue
            size = storage.nbytes() if counted else 0
            self._known.add(id(storage))
            weakref.finalize(storage, self._freed, id(storage), size).atexit = False
            self.now += size

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class CudaAllocations:
    """A meter that asks CUDA's caching allocator, which knows what kernels allocate for themselves as well."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        torch.cuda.reset_peak_memory_stats(device)
        self._before = torch.cuda.memory_allocated(device)

    @property
    def now(self) -> int:
        """Bytes alive now."""
        return torch.cuda.memory_allocated(self._device) - self._before

    def lap(self) -> list[int]:
        """The most bytes that were alive at a time since the last lap, alone in a list."""
        peak = torch.cuda.max_memory_allocated(self._device) - self._before
        torch.cuda.reset_peak_memory_stats(self._device)
        return [peak]


Meter = LiveTensors | CudaAllocations


@contextmanager
def metered(device: torch.device) -> Iterator[Meter]:
    """A meter of what the block makes on `device`."""
    if device.type == "cuda":
        yield CudaAllocations(device)
    else:
        with LiveTensors() as meter:
            yield meter
