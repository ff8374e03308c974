"""Bytes of live tensors, and their peak, for tests of what a step keeps."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts the storages that operations allocate until they are freed, on any device.

    It does not see what a kernel allocates and frees internally, and under a dispatch mode autograd accumulates gradients out of
    place; a test compares this count with torch's profiler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self._peak = 0
        self._known: set[int] = set()

    def lap(self) -> int:
        """The most bytes alive at a time since the last lap."""
        peak, self._peak = self._peak, self.now
        return peak

    def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple = (), keywords: dict | None = None) -> Any:
        """Run the operation; storages of its arguments existed before, all others of its results are new."""
        keywords = keywords or {}
        self._register((arguments, keywords), counted=False)
        result = function(*arguments, **keywords)
        self._register(result, counted=True)
        self._peak = max(self._peak, self.now)
        return result

    def _register(self, values: Any, counted: bool) -> None:
        for value in tree_leaves(values):
            if not isinstance(value, Tensor) or value.layout != torch.strided:
                continue
            storage = value.untyped_storage()
            if id(storage) not in self._known:
                size = storage.nbytes() if counted else 0
                self._known.add(id(storage))
                weakref.finalize(storage, self._freed, id(storage), size).atexit = False
                self.now += size

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
