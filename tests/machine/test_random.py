"""The global random stream belongs to one thread at a time."""

from __future__ import annotations

import threading
import time

import torch

from threefusion.machine.random import seeded


def test_threads_do_not_disturb_each_other() -> None:
    drawn = {}

    def draw(seed: int) -> None:
        with seeded(seed):
            first = torch.rand(2)
            time.sleep(0.02)
            drawn[seed] = torch.cat([first, torch.rand(2)])

    before = torch.get_rng_state()
    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, values in drawn.items():
        assert torch.equal(values, torch.rand(4, generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(torch.get_rng_state(), before)
