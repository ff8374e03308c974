"""Settings of the process that must be made before torch is loaded."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from types import FrameType

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1


def prepare_process(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let idle OpenMP threads sleep and keep freed memory; nothing that the user has set is changed.

    Spinning threads cost up to a factor of 12 as soon as anything else runs on the machine, and returning every large temporary
    to the system costs page faults: together they are worth more than any kernel.
    """
    if not any(name in environment for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    chosen = any(name.startswith("MALLOC_") for name in environment) or "malloc" in environment.get("GLIBC_TUNABLES", "")
    if not chosen and is_glibc():
        keep_freed_memory()


@contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable inside the block, for this process and those that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def is_outermost(frame: FrameType) -> bool:
    """Whether `frame` belongs to the program that Python was started with: no debugger, profiler or other program runs it."""
    outer = frame.f_back
    while outer is not None and outer.f_globals.get("__name__") == "runpy":  # of `python -m`
        outer = outer.f_back
    return outer is None and sys.gettrace() is None and sys.getprofile() is None


def end_process(code: int) -> None:
    """End the process after all that the interpreter's own end runs first: threads, exit handlers, output that is buffered.

    Returns if output cannot be written; the interpreter then says so at its end.
    """
    threading._shutdown()
    with suppress(Exception):  # printed, as at the interpreter's end
        atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_glibc() -> bool:
    """Whether this process runs on GNU libc."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False


def keep_freed_memory() -> None:
    """Serve all but giant allocations from the heap and never trim it."""
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    if not mallopt(M_MMAP_THRESHOLD, 1 << 30):
        mallopt(M_MMAP_THRESHOLD, 1 << 25)  # the highest that older versions accept
    mallopt(M_TRIM_THRESHOLD, LARGEST)
