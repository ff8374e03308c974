"""How many threads torch works with in a training: for small work one is faster than two that must be woken each time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

SMALL_RENDER = 2**13
"""Rays of a step up to which rendering is small. Measured at half of that: 22 ms with two threads that sleep, 12 with one."""
SMALL_LAYER = 2**21
"""Numbers in a network's largest layer up to which it is small: there one thread and two that sleep were equally fast."""


def is_small(rays: int, layer: int) -> bool:
    """Whether one thread is enough for `rays` rays a step, judged by a network whose largest layer holds `layer` numbers."""
    return rays <= SMALL_RENDER and layer <= SMALL_LAYER


@contextmanager
def training_threads(small: bool, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """In the block torch works with one thread if the steps are small, unless the user has set how many."""
    before = torch.get_num_threads()
    if small and "OMP_NUM_THREADS" not in environment:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
