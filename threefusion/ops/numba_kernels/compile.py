"""Compilation of kernels, and conversion of tensors to arrays.

Kernels are serial functions of (part, parts, ...) for `threefusion.ops.parallel`: numba's `prange` takes several times as long to
compile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numba
import numpy as np
from numba.core import event
from torch import Tensor

from threefusion.messages import Noted, send


class CompilationNotice(event.Listener):
    """Explains the wait of a first run: sends one line when a kernel of this package is not in numba's cache."""

    def __init__(self) -> None:
        self._sent = False

    def on_start(self, event: event.Event) -> None:
        """Send it once in a process."""
        kernel = event.data["dispatcher"].py_func
        if not self._sent and kernel.__module__.startswith("threefusion."):
            self._sent = True
            send(Noted("compiling kernels: the first run on a machine waits for it, later ones find them in a cache"))

    def on_end(self, event: event.Event) -> None:
        """Nothing."""


event.register("numba:compile", CompilationNotice())


def compiled(function: Callable[..., Any], fastmath: Collection[str] = ()) -> Callable[..., Any]:
    """Compile `function` on its first call; cached on disk if a cache folder is writable."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # neither the package folder nor the user cache is writable
        return numba.njit(function, **options)


contracted = partial(compiled, fastmath=("contract", "reassoc", "nsz"))
"""`compiled` with fused multiply-adds and sums in the order that vectorises: rounding may depend on the processor."""


def array(tensor: Tensor) -> np.ndarray:
    """The tensor as a contiguous array, sharing memory where possible."""
    return tensor.detach().contiguous().numpy()


def check_indices(indices: Tensor, size: int, lowest: int = 0) -> None:
    """Raise if an index is outside [lowest, size): kernels do not check bounds.

    Raises:
        IndexError: with the range of the indices.
    """
    if indices.numel():
        low, high = (int(bound) for bound in indices.aminmax())
        if low < lowest or high >= size:
            raise IndexError(f"indices from {low} to {high} are not all in [{lowest}, {size})")
