"""Compilation of kernels: a first run says why it waits, one that finds the kernels in the cache does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KERNEL = """
import sys

import numba
import torch
from threefusion.cli.terminal import Terminal
from threefusion.messages import listening
from threefusion.ops.numba_kernels.ray_points import ray_points

def of_another(x):
    return x

numba.njit(of_another)(1)
print("nothing of this package is compiled", file=sys.stderr)
rays = torch.zeros(1, 3)
with listening(Terminal()):
    ray_points(rays, rays, torch.zeros(1), torch.zeros(1, dtype=torch.long))
"""


def test_the_first_run_says_that_it_compiles(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", KERNEL], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stderr.startswith("nothing of this package is compiled\ncompiling kernels: ") and first.stderr.count("\n") == 2
    assert second.stderr == "nothing of this package is compiled\n"
