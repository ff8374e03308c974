"""How the work of an operation is shared by threads.

A kernel is a function of (part, parts, ...) that runs without Python's lock. The threads are our own: numba's can neither be
entered by two threads nor survive a fork everywhere. A forked child begins with threads of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_fixed: list[int] = []


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """In the block kernels run on so many threads."""
    _fixed.append(count)
    try:
        yield
    finally:
        _fixed.pop()


def threads() -> int:
    """What `use_threads` or OMP_NUM_THREADS says, or one for each core."""
    if _fixed:
        return _fixed[-1]
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(kernel: Callable[..., Any], *arguments: Any) -> None:
    """kernel(part, parts, *arguments) for every part, a thread each."""
    parts = threads()
    others = [_pool(parts).submit(kernel, part, parts, *arguments) for part in range(1, parts)]
    kernel(0, parts, *arguments)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "threefusion")


if hasattr(os, "register_at_fork"):
    # the threads stay with the parent, and what was handed to them in the child would wait for ever
    os.register_at_fork(after_in_child=_pool.cache_clear)
