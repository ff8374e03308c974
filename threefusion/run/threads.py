"""How many threads a training works with: for small work one is faster than two that must be woken each time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from threefusion.ops.parallel import use_threads

SMALL_RENDER = 2**13
"""Rays of a step up to which rendering is small. Measured at half of that: 22 ms with two threads that sleep, 12 with one."""
SMALL_LAYER = 2**21
"""Numbers in a network's largest layer up to which it is small: there one thread and two that sleep were equally fast."""


def is_small(rays: int, layer: int) -> bool:
    """Whether one thread is enough for `rays` rays a step, with a network whose largest layer holds `layer` numbers."""
    return rays <= SMALL_RENDER and layer <= SMALL_LAYER


@contextmanager
def training_threads(small: bool, environment: Mapping[str, str] = os.environ, restored: bool = True) -> Iterator[None]:
    """In the block torch and the kernels work with one thread if the steps are small, unless the user has set how many.

    Unless it is to be `restored`, torch keeps its one thread: MKL's number belongs to the process, and others may still train.

    The kernels too: on a quiet virtual machine a step of the quickstart took 57 ms with one and 81 with two, because whatever
    follows a thread's sleep, the guidance too, runs slower for a while.
    """
    if not small or "OMP_NUM_THREADS" in environment:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with use_threads(1):
            yield
    finally:
        if restored:
            torch.set_num_threads(before)
