"""Which implementation of the hot operations runs: one choice for the process, by default made by the tensors' device.

An operation is written once, with its derivatives, in `threefusion.ops`; a backend supplies the raw kernels, one module per
operation. `torch` has all of them and is the reference. The others are faster where they exist, and import nothing until used.
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

from threefusion.config import Backend
from threefusion.errors import UserError
from threefusion.machine.optional import INSTALL
from threefusion.suggest import did_you_mean

BACKENDS: tuple[str, ...] = get_args(Backend)
VARIABLE = "THREEFUSION_OPS"
"""Environment variable with the choice of a process whose config says `auto`."""

MODULES = {
    ("torch", "grid"): "threefusion.ops.torch_kernels.grid",
    ("torch", "march"): "threefusion.ops.torch_kernels.march",
    ("torch", "composite"): "threefusion.ops.torch_kernels.composite",
    ("torch", "rasterize"): "threefusion.ops.torch_kernels.rasterize",
    ("numba", "grid"): "threefusion.ops.numba_kernels.grid",
    ("numba", "march"): "threefusion.ops.numba_kernels.march",
    ("numba", "composite"): "threefusion.ops.numba_kernels.composite",
    ("numba", "rasterize"): "threefusion.ops.numba_kernels.rasterize",
    ("triton", "grid"): "threefusion.ops.triton_kernels.grid",
    ("triton", "march"): "threefusion.ops.triton_kernels.march",
    ("triton", "composite"): "threefusion.ops.triton_kernels.composite",
    ("tinycudann", "grid"): "threefusion.ops.adapters.tinycudann",
    ("nerfacc", "composite"): "threefusion.ops.adapters.nerfacc",
}
"""Where the kernels of each operation are, by backend; what a backend lacks runs in torch."""

DEVICES = {"numba": "cpu", "triton": "cuda", "tinycudann": "cuda", "nerfacc": "cuda"}
"""The device that a backend other than torch computes on."""

_chosen: list[str] = []


def choose_backend(name: Backend) -> None:
    """Let every operation of this process run on backend `name`; `auto` picks by device.

    Raises:
        UserError: there is no such backend, or its package is not installed.
    """
    check_backend(name)
    _chosen[:] = [name]


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """`choose_backend` for the length of a block."""
    before = list(_chosen)
    choose_backend(name)
    try:
        yield
    finally:
        _chosen[:] = before


def chosen_backend() -> str:
    """What was chosen, or what the environment says, or `auto`."""
    chosen = _chosen[-1] if _chosen else "auto"
    if chosen == "auto" and os.environ.get(VARIABLE):
        chosen = os.environ[VARIABLE]
        check_backend(chosen)
    return chosen


def check_backend(name: str) -> None:
    """Refuse a backend that cannot run here.

    Raises:
        UserError: there is none of that name, or its package is missing; then the message has the command that installs it.
    """
    if name not in BACKENDS:
        raise UserError(f"ops.backend: {name!r} is not one of {', '.join(BACKENDS)}{did_you_mean(name, BACKENDS)}")
    if name not in ("auto", "torch") and not installed(name):
        command = INSTALL.get(name, f"python -m pip install {name}")
        raise UserError(f"ops.backend: {name!r} needs a package that is not installed. Install it with: {command}")


@lru_cache
def installed(package: str) -> bool:
    """Whether `package` could be imported; it is not."""
    return find_spec(package) is not None


def kernels(operation: str, device: torch.device) -> ModuleType:
    """The module with the raw kernels of `operation` for tensors on `device`.

    Raises:
        UserError: a backend was chosen by name that does not compute on this device.
    """
    chosen = chosen_backend()
    if chosen == "auto":
        candidates = [name for name, works_on in DEVICES.items() if name in ("numba", "triton") and works_on == device.type]
        chosen = next((name for name in candidates if installed(name)), "torch")
    elif (chosen, operation) in MODULES and chosen != "torch" and DEVICES[chosen] != device.type:
        raise UserError(f"ops.backend: {chosen!r} computes on {DEVICES[chosen]}, and this run is on {device.type}. Use auto")
    return import_module(MODULES.get((chosen, operation), MODULES["torch", operation]))
