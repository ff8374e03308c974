"""Backends that can run on this machine's processor."""

import pytest

from threefusion.ops.backend import backend, installed
from threefusion.ops.numba_kernels import compile as compiling


@pytest.fixture(params=["torch", "numba"])
def each_backend(request):
    """Every operation runs on one backend after the other."""
    if request.param != "torch" and not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    with backend(request.param):
        yield request.param


@pytest.fixture
def kernel_threads(monkeypatch):
    """Sets how many threads the kernels run on."""
    return lambda count: monkeypatch.setattr(compiling, "threads", lambda: count)
