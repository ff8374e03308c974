"""Thread pool for the CPU kernels.

A kernel is a function of (part, parts, ...) that releases the GIL. numba's own thread pool is not used: it is not reentrant and
does not survive a fork on every platform. A forked child creates a new pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache
from typing import Any

from threefusion.machine.process import cores

LIGHT = 2**17
"""Items of light work that take several times as long as waking a thread and waiting for it."""
_fixed: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run kernels that this thread starts on `count` threads inside the block."""
    before = _fixed.set(count)
    try:
        yield
    finally:
        _fixed.reset(before)


def threads() -> int:
    """Number of threads: set by `use_threads`, else by OMP_NUM_THREADS, else one per core."""
    if (fixed := _fixed.get()) is not None:
        return fixed
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdigit() and int(configured):
        return int(configured)
    return cores()


def run(kernel: Callable[..., Any], *arguments: Any, items: int | None = None) -> None:
    """Call kernel(part, parts, *arguments) for every part, one thread each, and wait for all.

    A kernel that does little per item says how many items there are, and gets a thread for every `LIGHT` of them.
    """
    parts = threads() if items is None else min(threads(), 1 + items // LIGHT)
    # each in a copy of this context, because a thread's own has no listeners
    others = [_pool(threads()).submit(copy_context().run, kernel, part, parts, *arguments) for part in range(1, parts)]
    kernel(0, parts, *arguments)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "threefusion")


if hasattr(os, "register_at_fork"):
    # threads do not survive a fork: work submitted to the inherited pool would never run
    os.register_at_fork(after_in_child=_pool.cache_clear)
