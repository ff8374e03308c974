"""How kernels are compiled, and how they see tensors.

Kernels are serial functions of (part, parts, ...) for `threefusion.ops.parallel`. numba's `prange` would share their work too,
but takes several times as long to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from torch import Tensor


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled at its first call, and kept on disk where there is a place to write."""
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(function, nogil=True, error_model="numpy")


def array(tensor: Tensor) -> np.ndarray:
    """A tensor's memory, without its graph."""
    return tensor.detach().contiguous().numpy()
