"""A process whose global state is put back after every command."""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

import threefusion
from threefusion.machine.memory import resident_bytes
from threefusion.machine.process import is_glibc
from threefusion.machine.standins import StandIn
from threefusion.ops.backend import backend

SHARED = ("threefusion.run.training", "threefusion.run.trainer", "threefusion.system.build", "threefusion.evaluate.evaluate")
"""What every cell imports."""
TORCH = (
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
)
"""Settings of torch with what reads and what writes them."""
CUDNN = ("enabled", "benchmark", "deterministic", "allow_tf32")


class FreshProcess:
    """This process, which runs commands as if it had just been started: what they load is kept, what they set is put back."""

    def __init__(self) -> None:
        for name in SHARED:
            importlib.import_module(name)
        self._torch = [read() for read, _ in TORCH]
        self._cudnn = {name: getattr(torch.backends.cudnn, name) for name in CUDNN}
        self._levels = levels()
        self.spread = False
        """Whether a command has had several processes, which leave traces in all of their libraries."""

    def run(self, main: Callable[[list[str]], None], words: Sequence[str]) -> None:
        """Run a command line, which ends with `SystemExit`, by the `main` of the package."""
        sys.argv = [str(Path(threefusion.__file__).with_name("__main__.py")), *words]
        begin_memory_peak()
        with surroundings(), warnings.catch_warnings(), backend("auto"):
            try:
                main(list(words))
            finally:
                self.spread = self.spread or "WORLD_SIZE" in os.environ

    def renew(self) -> int:
        """Put the global state back and free what the last command has left; returns the bytes that the process still holds."""
        for (read, write), value in zip(TORCH, self._torch, strict=True):
            if read() != value:  # writing the same number of threads would change how MKL chooses its own
                write(value)
        for name, value in self._cudnn.items():
            setattr(torch.backends.cudnn, name, value)
        torch.seed()
        random.seed()
        np.random.seed()
        compiler = sys.modules.get("torch._dynamo")
        if compiler is not None and not isinstance(compiler, StandIn):  # it stops compiling after so many versions of a function
            compiler.reset()
        for name, level in levels().items():
            if level != (before := self._levels.get(name, logging.NOTSET)):
                logging.getLogger(name or None).setLevel(before)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if is_glibc():  # the process keeps what it frees, and the next command would begin with it
            ctypes.CDLL(None).malloc_trim(0)
        return resident_bytes() or 0


@contextmanager
def surroundings() -> Iterator[None]:
    """Put back environment, working directory, paths of modules and handlers of signals after the block."""
    environment, folder, paths = dict(os.environ), os.getcwd(), list(sys.path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = paths
        for number, handler in handlers.items():
            signal.signal(number, handler)


def levels() -> dict[str, int]:
    """The levels of all loggers by name, the root's under the empty one."""
    named = logging.getLogger().manager.loggerDict.items()
    return {"": logging.getLogger().level} | {name: one.level for name, one in named if isinstance(one, logging.Logger)}


def begin_memory_peak() -> None:
    """Let the process's peaks of memory begin anew, where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
