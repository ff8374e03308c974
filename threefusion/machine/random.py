"""Torch's global random stream, which all threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

_in_use = threading.RLock()


@contextmanager
def seeded(seed: int, devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Let the stream, and those of `devices`, begin with `seed` inside the block, in one thread at a time; then go on as before.

    >>> with seeded(1):
    ...     first = torch.rand(1)
    >>> with seeded(1):
    ...     first == torch.rand(1)
    tensor([True])
    """
    with _in_use, torch.random.fork_rng(list(devices)):
        torch.manual_seed(seed)
        yield
