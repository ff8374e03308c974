"""Counts where a training step makes the host wait for its device, were the device a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "unique_consecutive", "equal"}
"""Operations whose result, or its size, the host needs at once."""
READING = ("tolist", "numpy", "__array__")
"""Methods that read a tensor's memory without an operation that could be seen."""


class HostReads(TorchDispatchMode):
    """Counts by operation. An index with a boolean mask is a `nonzero` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masked = name in ("index", "index_put_") and any(mask is not None and mask.dtype == torch.bool for mask in args[1])
        if name in WAITING or masked or function is torch.ops.aten.repeat_interleave.Tensor:
            self.counts["nonzero" if masked else name] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def host_reads(monkeypatch, on_host: list[Tensor]) -> Iterator[Counter[str]]:
    """The reads inside the block, except `tolist` and the like of the tensors that lie on the host by contract."""
    with HostReads() as mode, monkeypatch.context() as patched:
        for name in READING:
            patched.setattr(Tensor, name, _counted(name, mode.counts, on_host))
        yield mode.counts


def _counted(name: str, counts: Counter[str], on_host: list[Tensor]) -> Callable[..., Any]:
    original = getattr(Tensor, name)

    def method(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not any(tensor is known for known in on_host):
            counts[name] += 1
        return original(tensor, *args, **kwargs)

    return method


@contextmanager
def uncounted(counts: Counter[str]) -> Iterator[None]:
    """What the block reads is not added to `counts`."""
    before = dict(counts)
    yield
    counts.clear()
    counts.update(before)
