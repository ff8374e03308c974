"""Selection of the kernel backend: one per process, by default chosen by the device of the tensors.

An operation and its derivatives are written once, in `threefusion.ops`; a backend supplies the raw kernels, one module per
operation. `torch` is the reference and has all of them. The others are faster, may lack some, and are imported on first use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import get_args

import torch

from threefusion.config.sections import Backend
from threefusion.errors import UserError, did_you_mean
from threefusion.machine.optional import INSTALL

BACKENDS: tuple[str, ...] = get_args(Backend)
VARIABLE = "THREEFUSION_OPS"
"""Environment variable that overrides `auto`."""

KERNELS = {
    "torch": ("grid", "relu_network", "march", "ray_points", "composite", "rasterize", "interpolate", "topology", "collapse"),
    "numba": ("grid", "relu_network", "march", "ray_points", "composite", "rasterize", "interpolate", "topology", "collapse"),
    "triton": ("grid", "march", "composite"),
}
"""Operations of our own backends."""

MODULES = {(name, one): f"threefusion.ops.{name}_kernels.{one}" for name, operations in KERNELS.items() for one in operations} | {
    ("tinycudann", "grid"): "threefusion.ops.adapters.tinycudann",
    ("nerfacc", "composite"): "threefusion.ops.adapters.nerfacc",
    ("nvdiffrast", "rasterize"): "threefusion.ops.adapters.nvdiffrast",
}
"""Module of the kernels by (backend, operation). An operation that a backend lacks runs in torch."""

DEVICES = {"numba": "cpu", "triton": "cuda", "tinycudann": "cuda", "nerfacc": "cuda", "nvdiffrast": "cuda"}
"""Device type of each backend other than torch."""

_chosen: list[str] = []


def choose_backend(name: Backend) -> None:
    """Select the backend of all operations of this process; `auto` selects by device.

    Raises:
        UserError: unknown backend, or its package is not installed.
    """
    check_backend(name)
    _chosen[:] = [name]


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Context manager form of `choose_backend`.

    Example:
        >>> with backend("torch"):
        ...     chosen_backend()
        'torch'
    """
    before = list(_chosen)
    choose_backend(name)
    try:
        yield
    finally:
        _chosen[:] = before


def chosen_backend() -> str:
    """Name of the selected backend: by `choose_backend`, else by the environment variable, else `auto`."""
    chosen = _chosen[-1] if _chosen else "auto"
    if chosen == "auto" and os.environ.get(VARIABLE):
        chosen = os.environ[VARIABLE]
        check_backend(chosen)
    return chosen


def check_backend(name: str) -> None:
    """Raise if backend `name` cannot run here.

    Raises:
        UserError: unknown backend, or its package is not installed; the message has the install command.
    """
    if name not in BACKENDS:
        raise UserError(f"ops.backend: {name!r} is not one of {', '.join(BACKENDS)}{did_you_mean(name, BACKENDS)}")
    if name not in ("auto", "torch") and not installed(name):
        command = INSTALL.get(name, f"python -m pip install {name}")
        raise UserError(f"ops.backend: {name!r} needs a package that is not installed. Install it with: {command}")


@lru_cache
def installed(package: str) -> bool:
    """Whether `package` is installed, without importing it."""
    return find_spec(package) is not None


def kernels(operation: str, device: torch.device) -> ModuleType:
    """Module with the raw kernels of `operation` for tensors on `device`.

    Raises:
        UserError: the backend selected by name does not run on this device.
    """
    chosen = chosen_backend()
    if chosen == "auto":
        candidates = [name for name in ("numba", "triton") if DEVICES.get(name) == device.type]
        chosen = next((name for name in candidates if installed(name)), "torch")
    elif (chosen, operation) in MODULES and chosen != "torch" and DEVICES[chosen] != device.type:
        raise UserError(f"ops.backend: {chosen!r} runs on {DEVICES[chosen]}, but this run is on {device.type}. Use auto")
    return import_module(MODULES.get((chosen, operation), MODULES["torch", operation]))
