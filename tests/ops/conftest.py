"""Backends that can run on this machine's processor."""

import os

import pytest

from threefusion.ops import parallel
from threefusion.ops.backend import backend, installed


@pytest.fixture(params=["torch", "numba", *(["triton"] if os.environ.get("TRITON_INTERPRET") == "1" else [])])
def each_backend(request, monkeypatch):
    """Every operation runs on one backend after the other; on Triton only in its interpreter, with the processor's tensors."""
    if request.param == "triton":
        monkeypatch.setattr("threefusion.ops.backend.DEVICES", {"triton": "cpu"})
    if request.param != "torch" and not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    with backend(request.param):
        yield request.param


@pytest.fixture
def kernel_threads(monkeypatch):
    """Sets how many threads the kernels run on, however little their work is."""
    monkeypatch.setattr(parallel, "LIGHT", 1)
    return lambda count: monkeypatch.setattr(parallel, "threads", lambda: count)
